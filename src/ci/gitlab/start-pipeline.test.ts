import { expect, test } from "vitest";
import type { PipelineStart } from "../../core/pipeline-start.ts";
import { gitlabStarter } from "./start-pipeline.ts";

const baseUrl = "https://gitlab.example/api/v4";
const now = Date.parse("2026-11-24T09:30:00Z");
const cause = "evt_0123456789abcdef";
const start: PipelineStart = { project: "acme/deploy", ref: "main", cause, variables: { WAYLEAVE_CAUSE: cause } };

/** GitLab over a list of answers; gives what was asked too. */
function gitlab(
  answers: readonly (Response | (() => Response))[],
  options: { readToken?: string } = { readToken: "r" },
) {
  const asked: { method: string; path: string; headers: Headers; body: string }[] = [];
  const left = [...answers];
  const fetchIt: typeof fetch = async (input, init) => {
    if (init?.redirect !== "manual" || !init.signal) throw new TypeError("no redirects, and never without a timeout");
    const path = String(input).slice(baseUrl.length);
    asked.push({ method: init.method ?? "", path, headers: new Headers(init.headers), body: String(init.body ?? "") });
    const next = left.shift();
    if (next === undefined) throw new TypeError("fetch failed");
    return typeof next === "function" ? next() : next;
  };
  const triggerTokens = { "acme/deploy": "glptt-secret" };
  const starter = gitlabStarter({
    baseUrl,
    triggerTokens,
    fetch: fetchIt,
    timeoutMs: 1000,
    now: () => now,
    ...options,
  });
  return { starter, asked };
}

test("a start is one request with the project's own trigger token in its body", async () => {
  const { starter, asked } = gitlab([Response.json({ id: 5101, project_id: 2000 }, { status: 201 })]);
  expect(await starter.start({ ...start, projectId: "2000" })).toEqual({
    kind: "started",
    pipeline: { projectId: "2000", pipelineId: "5101" },
  });
  expect(asked).toMatchObject([{ method: "POST", path: "/projects/2000/trigger/pipeline" }]);
  expect(JSON.parse(asked[0]?.body ?? "")).toEqual({
    token: "glptt-secret",
    ref: "main",
    variables: { WAYLEAVE_CAUSE: cause },
  });
});

test("a project without a trigger token is refused without asking", async () => {
  const { starter, asked } = gitlab([]);
  expect(await starter.start({ ...start, project: "acme/other" })).toMatchObject({ kind: "refused" });
  expect(asked).toEqual([]);
});

const throttled = { message: { base: ["Too many pipelines created in the last minute. Try again later."] } };
test.each([
  { what: "no connection", answer: undefined, outcome: { kind: "unknown" } },
  { what: "a fault", answer: new Response("", { status: 500 }), outcome: { kind: "unknown" } },
  { what: "a proxy's fault", answer: new Response("<h1>502", { status: 502 }), outcome: { kind: "unknown" } },
  {
    what: "a fault that says when",
    answer: new Response("", { status: 503, headers: { "retry-after": "30" } }),
    outcome: { kind: "unknown", afterMs: 30_000 },
  },
  {
    what: "a redirect",
    answer: new Response("", { status: 302, headers: { location: "https://evil.example" } }),
    outcome: { kind: "unknown" },
  },
  { what: "a timed out request", answer: new Response("", { status: 408 }), outcome: { kind: "unknown" } },
  { what: "201 without a pipeline", answer: Response.json({}, { status: 201 }), outcome: { kind: "unknown" } },
  { what: "201 that is cut off", answer: new Response('{"id":51', { status: 201 }), outcome: { kind: "unknown" } },
  { what: "200", answer: Response.json({ id: 1, project_id: 2 }), outcome: { kind: "unknown" } },
  {
    what: "a ref that is not there",
    answer: Response.json({ message: { base: ["Reference not found"] } }, { status: 400 }),
    outcome: { kind: "refused", detail: "GitLab refused the start (400: Reference not found)." },
  },
  {
    what: "a token of another project",
    answer: Response.json({ message: "404 Not Found" }, { status: 404 }),
    outcome: { kind: "refused" },
  },
  {
    what: "forbidden variables",
    answer: Response.json({ message: "Insufficient permissions to set pipeline variables" }, { status: 403 }),
    outcome: { kind: "refused" },
  },
  { what: "a credential that is no good", answer: new Response("", { status: 401 }), outcome: { kind: "later" } },
  {
    what: "429 with Retry-After",
    answer: new Response("Retry later\n", { status: 429, headers: { "retry-after": "7", "ratelimit-reset": "1" } }),
    outcome: { kind: "later", afterMs: 7000 },
  },
  {
    what: "429 with RateLimit-Reset alone",
    answer: new Response("", { status: 429, headers: { "ratelimit-reset": String(now / 1000 + 42) } }),
    outcome: { kind: "later", afterMs: 42_000 },
  },
  {
    what: "429 with a date",
    answer: new Response("", { status: 429, headers: { "retry-after": new Date(now + 9000).toUTCString() } }),
    outcome: { kind: "later", afterMs: 9000 },
  },
  {
    what: "429 without a word",
    answer: new Response("", { status: 429 }),
    outcome: { kind: "later", afterMs: 60_000 },
  },
  {
    what: "429 with a reset that is past",
    answer: new Response("", { status: 429, headers: { "ratelimit-reset": String(now / 1000 - 5) } }),
    outcome: { kind: "later", afterMs: 60_000 },
  },
  {
    what: "the limit on pipelines, which is a 400",
    answer: Response.json(throttled, { status: 400 }),
    outcome: { kind: "later", afterMs: 60_000 },
  },
])("$what: $outcome.kind", async ({ answer, outcome }) => {
  const { starter } = gitlab(answer === undefined ? [] : [answer]);
  expect(await starter.start(start)).toMatchObject(outcome);
});

test("no outcome quotes a token, or words that are no plain sentence", async () => {
  const hostile = { message: `token glptt-secret <script>\u001b[31m`, error: ["$(id)"] };
  const { starter } = gitlab([Response.json(hostile, { status: 400 })]);
  expect(await starter.start(start)).toEqual({ kind: "refused", detail: "GitLab refused the start (400)." });
});

const listed = (ids: readonly number[], more = false): Response =>
  Response.json(
    ids.map((id) => ({ id, project_id: 2000, ref: "main" })),
    { headers: { "x-next-page": more ? "2" : "" } },
  );
const variables = (value?: string): Response =>
  Response.json([{ key: "TAG", value: "1" }, ...(value === undefined ? [] : [{ key: "WAYLEAVE_CAUSE", value }])]);
const wanted = { project: "acme/deploy", ref: "main", cause, since: now };

test("a look-up reads the variables of what was triggered since, oldest first, page by page", async () => {
  const { starter, asked } = gitlab([
    listed([5101, 5102], true),
    variables(),
    variables("evt_other"),
    listed([5103]),
    variables(cause),
  ]);
  expect(await starter.find(wanted)).toEqual({ kind: "found", pipeline: { projectId: "2000", pipelineId: "5103" } });
  const query = new URL(`https://x${asked[0]?.path}`).searchParams;
  expect(Object.fromEntries(query)).toEqual({
    source: "trigger",
    ref: "main",
    updated_after: "2026-11-24T09:29:00.000Z",
    order_by: "id",
    sort: "asc",
    per_page: "100",
    page: "1",
  });
  expect(asked.map(({ headers }) => headers.get("private-token"))).toEqual(["r", "r", "r", "r", "r"]);
});

test("nothing triggered since, or nothing of ours: none", async () => {
  expect(await gitlab([listed([])]).starter.find(wanted)).toEqual({ kind: "none" });
  expect(await gitlab([listed([1]), variables("evt_other")]).starter.find(wanted)).toEqual({ kind: "none" });
});

const forbidden = () => Response.json({ message: "403 Forbidden" }, { status: 403 });
test.each([
  { what: "the list cannot be had", answers: [new Response("", { status: 500 })], final: undefined },
  { what: "variables cannot be had", answers: [listed([1])], final: undefined },
  { what: "variables may not be read", answers: [listed([1]), forbidden], final: true },
  { what: "the list is no list", answers: [Response.json({})], final: undefined },
  { what: "the project is hidden", answers: [Response.json({}, { status: 404 })], final: true },
  { what: "there are too many", answers: [listed([], true), listed([], true), listed([], true)], final: true },
])("where $what, nothing is concluded", async ({ answers, final }) => {
  expect(await gitlab(answers).starter.find(wanted)).toMatchObject({ kind: "unknown", ...(final ? { final } : {}) });
});

test("without a token to read with, nothing is concluded", async () => {
  const { starter, asked } = gitlab([], {});
  expect(await starter.find(wanted)).toMatchObject({ kind: "unknown", final: true });
  expect(asked).toEqual([]);
});
