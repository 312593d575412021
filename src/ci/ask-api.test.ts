import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { fakeApi } from "./api.fake.ts";
import { createAskApi, readAnswer } from "./ask-api.ts";

const baseUrl = "https://gitlab.example/api/v4";
const secret = "glpat-do-not-show";

function ask(answer: unknown, options: { readonly timeoutMs?: number; readonly fetch?: typeof fetch } = {}) {
  const { fetch } = fakeApi(baseUrl, { "/thing": answer });
  const headers = { "private-token": secret };
  return createAskApi({ ci: "GitLab", baseUrl, headers, scope: "read_api", fetch, timeoutMs: 1_000, ...options })(
    "/thing",
  );
}

const status = (code: number, headers: Record<string, string> = {}, body = `{"token":"${secret}"}`) => {
  return () => new Response(code === 204 ? null : body, { status: code, headers });
};

describe("no usable answer:", () => {
  test.each([
    {
      what: "the token is unknown",
      answer: status(401),
      says: "refused our token (401). Give issuers[].api one with read_api",
    },
    { what: "the token may not", answer: status(403), says: "refused our token (403)" },
    {
      what: "the rate limit, with seconds",
      answer: status(429, { "retry-after": "17" }),
      says: "wait for 17 s (Retry-After) (429)",
    },
    {
      what: "the rate limit, with a date",
      answer: status(429, { "retry-after": "Tue, 24 Nov 2026" }),
      says: "wait for a while",
    },
    {
      what: "the rate limit, with words",
      answer: status(429, { "retry-after": secret }),
      says: "wait for a while (429)",
    },
    { what: "a redirect", answer: status(302, { location: `https://evil.example/${secret}` }), says: "redirect (302)" },
    { what: "a fault", answer: status(500), says: "answered 500" },
    { what: "a gateway's fault", answer: status(502), says: "answered 502" },
    { what: "nothing at all", answer: status(204), says: "answered 204" },
    { what: "a page", answer: status(200, {}, "<html>"), says: "not JSON" },
    { what: "JSON cut short", answer: status(200, {}, '{"id":'), says: "not JSON" },
    { what: "an endless body", answer: status(200, {}, " ".repeat(8_388_609)), says: "more than 8388608 bytes" },
    {
      what: "no connection",
      answer: () => Promise.reject(new TypeError("fetch failed", { cause: { code: "ECONNRESET" } })),
      says: "cannot be reached: ECONNRESET",
    },
    {
      what: "an error that quotes the token",
      answer: () => Promise.reject(new TypeError(`invalid header ${secret}`)),
      says: "cannot be reached.",
    },
  ])("$what", async ({ answer, says }) => {
    const error: unknown = await ask(answer).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "ci_api_unreachable", message: expect.stringContaining(says) });
    const { message, stack, cause } = error as Error;
    expect(`${message} ${stack} ${JSON.stringify(cause)}`).not.toContain(secret);
  });

  test("none in time", async () => {
    const never: typeof fetch = (_input, init) =>
      new Promise((_resolve, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
    await expect(ask(undefined, { fetch: never, timeoutMs: 1 })).rejects.toMatchObject({
      code: "ci_api_unreachable",
      message: expect.stringContaining("no answer within 1 ms"),
    });
  });
});

test.each([
  { what: "200", answer: { id: 1 }, reads: { found: true, body: { id: 1 }, more: false } },
  {
    what: "404 with a reason",
    answer: undefined,
    reads: { found: false, body: { message: "404 Not found" }, more: false },
  },
  {
    what: "404 without JSON",
    answer: status(404, {}, "<html>"),
    reads: { found: false, body: undefined, more: false },
  },
  {
    what: "the last page",
    answer: status(200, { "x-next-page": "" }, "[]"),
    reads: { found: true, body: [], more: false },
  },
  {
    what: "a page of several",
    answer: status(200, { "x-next-page": "2" }, "[]"),
    reads: { found: true, body: [], more: true },
  },
  {
    what: "a page with a link",
    answer: status(200, { link: '<https://x/?page=2>; rel="next"' }, "[]"),
    reads: { found: true, body: [], more: true },
  },
])("$what is an answer", async ({ answer, reads }) => {
  expect(await ask(answer)).toEqual(reads);
});

test("a slash at the end of the base makes no difference", async () => {
  const { fetch, asked } = fakeApi(baseUrl, { "/thing": {} });
  await createAskApi({ ci: "GitLab", baseUrl: `${baseUrl}/`, headers: {}, scope: "", fetch, timeoutMs: 1_000 })(
    "/thing",
  );
  expect(asked.map(({ path }) => path)).toEqual(["/thing"]);
});

test("whatever JSON comes, reading it yields the value or ci_api_unreachable", () => {
  const schema = z.object({ id: z.int(), pipeline: z.object({ id: z.int() }) });
  fc.assert(
    fc.property(fc.jsonValue(), (body) => {
      try {
        expect(readAnswer(schema, body, "GitLab", "job")).toHaveProperty("pipeline.id");
      } catch (error) {
        expect(error).toMatchObject({ code: "ci_api_unreachable" });
      }
    }),
  );
});
