import { describe, expect, test } from "vitest";
import type { JobIdentity } from "../../core/identity.ts";
import { gitlabJobLog } from "./job-log.ts";

const identity: JobIdentity = {
  issuer: "gitlab",
  issuerType: "gitlab",
  kind: "job",
  project: { id: "1042", path: "acme/shop" },
  pipelineId: "88123",
  job: { id: "7712" },
  fork: "no",
  attributes: {},
  variables: {},
};
const token = "glpat-a-secret-of-this-test";

function reader(
  answer: (url: string, init: RequestInit | undefined) => Response | Promise<Response>,
  timeoutMs = 5_000,
) {
  const fetchIt: typeof fetch = async (input, init) => answer(String(input), init);
  const options = { baseUrl: "https://gitlab.example/api/v4/", token, fetch: fetchIt, timeoutMs };
  return gitlabJobLog(options);
}

/** A body that arrives in these pieces. */
function pieces(...texts: readonly string[]): Response {
  return new Response(
    new ReadableStream({
      start(controller) {
        for (const text of texts) controller.enqueue(new TextEncoder().encode(text));
        controller.close();
      },
    }),
  );
}

describe("a job's log", () => {
  test("is read at the project that runs the job, with the API's token", async () => {
    const asked: unknown[] = [];
    const read = reader((url, init) => {
      asked.push(url, new Headers(init?.headers).get("private-token"), init?.redirect);
      return pieces("hello\n");
    });
    expect(await read(identity, "hello")).toEqual({ found: true });
    expect(asked).toEqual(["https://gitlab.example/api/v4/projects/1042/jobs/7712/trace", token, "manual"]);
  });

  test.each([
    { why: "in one piece", texts: ["a\nsession ses_x opened\nb"], found: true },
    { why: "cut between two pieces", texts: ["a\nsession se", "s_x opened\nb"], found: true },
    { why: "cut into single characters", texts: [..."a session ses_x opened"], found: true },
    { why: "nearly", texts: ["session ses_x joined", "session ses_xx opened"], found: false },
    { why: "empty", texts: [], found: false },
  ])("has the text or has not: $why", async ({ texts, found }) => {
    expect(await reader(() => pieces(...texts))(identity, "session ses_x opened")).toEqual({ found });
  });

  test.each([
    { why: "no such job", answer: () => new Response("nothing", { status: 404 }) },
    { why: "a refused token", answer: () => new Response(token, { status: 401 }) },
    { why: "a redirect", answer: () => new Response(null, { status: 302, headers: { location: "https://evil" } }) },
    { why: "no network", answer: () => Promise.reject(new TypeError(`bad header ${token}`)) },
  ])("that cannot be read says why: $why", async ({ answer }) => {
    const read = await reader(answer)(identity, "x");
    expect(read).toHaveProperty("unread");
    expect(JSON.stringify(read)).not.toContain(token);
  });

  test("that does not arrive is given up", async () => {
    const never = (_url: string, init: RequestInit | undefined) =>
      new Promise<Response>((_, reject) => init?.signal?.addEventListener("abort", () => reject(new Error("late"))));
    expect(await reader(never, 5)(identity, "x")).toEqual({ unread: "GitLab's API gave no answer in time" });
  });

  test("without end is not read to it", async () => {
    const chunk = new Uint8Array(1024 * 1024);
    const endless = () =>
      new Response(new ReadableStream({ pull: (controller) => controller.enqueue(chunk) }, { highWaterMark: 0 }));
    expect(await reader(endless)(identity, "x")).toHaveProperty("unread");
  });
});
