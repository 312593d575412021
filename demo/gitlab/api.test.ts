import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Gitlab, startGitlab } from "./gitlab.ts";
import type { Job, MergeRequest, Project, User } from "./types.ts";

let gitlab: Gitlab;
let alice: User;
let shop: Project;
let secret: Project;
let job: Job;
let mergeRequest: MergeRequest;
let token: string;

beforeAll(async () => {
  gitlab = await startGitlab({ now: () => 1_790_000_000_000, root: "/gitlab" });
  alice = gitlab.createUser({ username: "alice" });
  shop = gitlab.createProject({ path: "acme/sub/shop", id: 20, approvalsRequired: 1 });
  secret = gitlab.createProject({ path: "acme/secret" });
  gitlab.pushCommit(shop, "feature");
  mergeRequest = gitlab.openMergeRequest(shop, { sourceBranch: "feature", author: alice, iid: 77, title: "Ship it" });
  const jobs = [{ name: "release", environment: "production" }];
  job = gitlab.startPipeline(shop, { source: "merge_request_event", mergeRequest, user: alice, jobs }).jobs[0]!;
  gitlab.runJob(job);
  gitlab.protectEnvironment(shop, "production", 1);
  token = gitlab.createAccessToken({ projects: [shop] });
});
afterAll(() => gitlab.close());
beforeEach(() => gitlab.setApiFault(undefined));

async function get(path: string, headers: Record<string, string> = { "PRIVATE-TOKEN": token }) {
  const response = await fetch(`${gitlab.localUrl}/api/v4${path}`, { headers });
  const text = await response.text();
  const json = response.headers.get("content-type")?.startsWith("application/json") ? JSON.parse(text) : undefined;
  return { status: response.status, headers: response.headers, text, json };
}

describe("authentication", () => {
  test.each<{ name: string; headers: () => Record<string, string>; status: number }>([
    { name: "PRIVATE-TOKEN", headers: () => ({ "PRIVATE-TOKEN": token }), status: 200 },
    { name: "Bearer", headers: () => ({ Authorization: `Bearer ${token}` }), status: 200 },
    { name: "no token", headers: () => ({}), status: 401 },
    { name: "an unknown token", headers: () => ({ "PRIVATE-TOKEN": "glpat-x" }), status: 401 },
    { name: "an empty token", headers: () => ({ "PRIVATE-TOKEN": "" }), status: 401 },
    { name: "a job's token", headers: () => ({ "JOB-TOKEN": job.token }), status: 401 },
    {
      name: "a revoked token",
      headers: () => {
        const revoked = gitlab.createAccessToken();
        gitlab.revokeAccessToken(revoked);
        return { "PRIVATE-TOKEN": revoked };
      },
      status: 401,
    },
    {
      name: "a token of another scope",
      headers: () => ({ "PRIVATE-TOKEN": gitlab.createAccessToken({ scopes: ["read_repository"] }) }),
      status: 403,
    },
  ])("$name -> $status", async ({ headers, status }) => {
    const answer = await get("/projects/20", headers());
    expect(answer.status).toBe(status);
    if (status === 401) expect(answer.json).toEqual({ message: "401 Unauthorized" });
    if (status === 403) expect(answer.json.error).toBe("insufficient_scope");
  });
});

test.each([
  { path: () => `/projects/${secret.id}`, message: "404 Project Not Found" },
  { path: () => "/projects/99999", message: "404 Project Not Found" },
  { path: () => "/projects/acme%2Fsub%2Fshop2", message: "404 Project Not Found" },
  { path: () => "/projects/20/jobs/1", message: "404 Not Found" },
  { path: () => `/projects/20/jobs/1/trace`, message: "404 Not Found" },
  { path: () => "/projects/20/merge_requests/1", message: "404 Not Found" },
  { path: () => "/projects/20/merge_requests/1/approvals", message: "404 Not Found" },
  { path: () => `/projects/20/repository/commits/${"0".repeat(40)}/merge_requests`, message: "404 Commit Not Found" },
  { path: () => "/projects/20/protected_environments/staging", message: "404 Not Found" },
])("an unseen or unknown thing is 404 $message", async ({ path, message }) => {
  expect(await get(path())).toMatchObject({ status: 404, json: { message } });
});

test.each(["/projects/acme/sub/shop", "/projects", "/nothing", "/projects/%zz"])("no such route: %s", async (path) => {
  expect(await get(path)).toMatchObject({ status: 404, json: { error: "404 Not Found" } });
});

test("another project's job cannot be read through this one", async () => {
  const foreign = gitlab.startPipeline(secret, { user: alice, jobs: ["x"] }).jobs[0]!;
  expect((await get(`/projects/20/jobs/${foreign.id}`)).status).toBe(404);
});

test("a project by id and by encoded path is the same", async () => {
  const [byId, byPath] = [await get("/projects/20"), await get("/projects/acme%2Fsub%2Fshop")];
  expect(byId.json).toMatchObject({ id: 20, path_with_namespace: "acme/sub/shop", default_branch: "main" });
  expect(byPath.json).toEqual(byId.json);
});

test("a job with its pipeline, in numbers and ISO times", async () => {
  expect((await get(`/projects/20/jobs/${job.id}`)).json).toMatchObject({
    id: job.id,
    status: "running",
    name: "release",
    ref: "refs/merge-requests/77/head",
    started_at: "2026-09-21T14:13:20.000Z",
    finished_at: null,
    pipeline: { id: job.pipeline.id, project_id: 20, sha: mergeRequest.sha, source: "merge_request_event" },
    user: { username: "alice" },
    web_url: `${gitlab.issuer}/acme/sub/shop/-/jobs/${job.id}`,
  });
});

test("a merge request, and the same one by its commit", async () => {
  const { json } = await get("/projects/20/merge_requests/77");
  expect(json).toMatchObject({
    iid: 77,
    title: "Ship it",
    state: "opened",
    sha: mergeRequest.sha,
    diff_refs: { head_sha: mergeRequest.sha },
    merge_commit_sha: null,
    squash_commit_sha: null,
    source_branch: "feature",
    target_branch: "main",
    source_project_id: 20,
    target_project_id: 20,
    detailed_merge_status: "not_approved",
    merged_at: null,
    web_url: `${gitlab.issuer}/acme/sub/shop/-/merge_requests/77`,
  });
  const list = await get(`/projects/20/repository/commits/${mergeRequest.sha}/merge_requests`);
  expect(list.json).toEqual([json]);
});

test("approvals count what is left and who gave them", async () => {
  const path = "/projects/20/merge_requests/77/approvals";
  expect((await get(path)).json).toMatchObject({ approved: false, approvals_required: 1, approvals_left: 1 });
  gitlab.approve(mergeRequest, alice);
  expect((await get(path)).json).toMatchObject({
    approved: true,
    approvals_left: 0,
    approved_by: [{ user: { id: alice.id, username: "alice" } }],
  });
  gitlab.pushCommit(shop, "feature");
  expect((await get(path)).json).toMatchObject({ approved: false, approvals_left: 1, approved_by: [] });
  shop.approvalsRequired = 0;
  expect((await get(path)).json).toMatchObject({ approved: true, approved_by: [] });
  shop.approvalsRequired = 1;
});

test("environments by name, and their protection", async () => {
  const { json } = await get("/projects/20/environments?name=production");
  expect(json).toMatchObject([{ name: "production", tier: "production" }]);
  expect((await get("/projects/20/environments?name=prod")).json).toEqual([]);
  const rule = await get("/projects/20/protected_environments/production");
  expect(rule.json).toMatchObject({ name: "production", required_approval_count: 1 });
});

test("a trace is plain text and grows", async () => {
  gitlab.appendTrace(job, "wayleave: session opened\n");
  gitlab.appendTrace(job, "done\n");
  const answer = await get(`/projects/20/jobs/${job.id}/trace`);
  expect(answer.text).toBe("wayleave: session opened\ndone\n");
  expect(answer.headers.get("content-type")).toContain("text/plain");
});

test("GET /job answers the job's own token from its start to its end, canceling included", async () => {
  const one = gitlab.startPipeline(shop, { user: alice, jobs: ["x"] }).jobs[0]!;
  const status = async () => (await get("/job", { "JOB-TOKEN": one.token })).status;
  expect(await status()).toBe(401);
  gitlab.runJob(one);
  expect((await get("/job", { Authorization: `Bearer ${one.token}` })).json).toMatchObject({ id: one.id });
  gitlab.cancelJob(one);
  expect(await status()).toBe(200);
  gitlab.finishCancel(one);
  expect(await status()).toBe(401);
  expect((await get("/job")).status).toBe(401);
});

test("an overloaded API says when to come back, a broken one nothing", async () => {
  gitlab.setApiFault({ status: 429, retryAfterSeconds: 7 });
  const limited = await get("/projects/20");
  expect([limited.status, limited.headers.get("retry-after"), limited.text]).toEqual([429, "7", "Retry later\n"]);
  gitlab.setApiFault({ status: 500 });
  expect((await get("/projects/20")).status).toBe(500);
  expect((await fetch(`${gitlab.localUrl}/oauth/discovery/keys`)).status).toBe(200);
});
