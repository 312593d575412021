import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Gitlab, startGitlab } from "./gitlab.ts";
import { webhookSignature } from "./hook-signature.ts";
import type { HookOptions } from "./hooks.ts";
import { type Listener, listen, type Request } from "./listener.ts";
import type { GitlabVersion, Project, User } from "./types.ts";

const start = Date.UTC(2026, 10, 24, 9, 30, 12, 345);
const signingToken = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

let now = start;
let receiver: Listener;
let answer = 204;
const received: Request[] = [];
const open: Gitlab[] = [];

beforeAll(async () => {
  receiver = await listen({}, (request) => {
    received.push(request);
    return { status: answer, body: "" };
  });
});
beforeEach(() => {
  received.length = 0;
  now = start;
  answer = 204;
});
afterAll(async () => {
  await Promise.all([receiver.close(), ...open.map((gitlab) => gitlab.close())]);
});

interface Scene {
  readonly gitlab: Gitlab;
  readonly alice: User;
  readonly shop: Project;
}

async function scene(hook: Partial<HookOptions> = {}, version: GitlabVersion = "19.0"): Promise<Scene> {
  const gitlab = await startGitlab({ now: () => now, version, root: "/gitlab" });
  open.push(gitlab);
  const alice = gitlab.createUser({ username: "alice" });
  const shop = gitlab.createProject({ path: "acme/shop", members: { alice: "developer" } });
  gitlab.addHook({ url: `${receiver.origin}/hooks/gitlab`, project: shop, ...hook });
  return { gitlab, alice, shop };
}

/** What arrived, oldest first: the words that tell deliveries apart. */
const arrived = () => received.map((request) => JSON.parse(request.body));
const statuses = () => arrived().map((body) => body.build_status);

test("the signature of the published vector", () => {
  const body = '{"object_kind":"build","build_id":42}';
  const signature = webhookSignature(signingToken, "11111111-2222-3333-4444-555555555555", 1767225600, body);
  expect(signature).toBe("v1,w5/mIaLnXCrzCLgQUu9QZSNr2KW7GOCL03+AErtSsNY=");
});

test.each(["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_AAEC", ""])(
  "a signing token like %j is refused when the hook is added",
  async (wrong) => {
    const { gitlab, shop } = await scene();
    expect(() => gitlab.addHook({ url: receiver.origin, project: shop, signingToken: wrong })).toThrow(TypeError);
  },
);

test("releases before 19.0 cannot sign", async () => {
  await expect(scene({ signingToken }, "18.2")).rejects.toThrow("19.0");
});

test("a signed delivery has GitLab's headers, and its signature covers its id, time and bytes", async () => {
  const { gitlab, shop, alice } = await scene({ token: "s3cret", signingToken, events: ["job"] });
  gitlab.startPipeline(shop, { user: alice, jobs: ["test"] });
  await gitlab.flush();
  const { headers, body } = received[0]!;
  const id = headers["idempotency-key"] ?? "";
  expect(headers).toMatchObject({
    "content-type": "application/json",
    "x-gitlab-event": "Job Hook",
    "x-gitlab-token": "s3cret",
    "x-gitlab-instance": gitlab.issuer.replace("/gitlab", ""),
    "x-gitlab-event-uuid": expect.any(String),
    "x-gitlab-webhook-uuid": expect.any(String),
    "user-agent": "GitLab/19.0.0",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(start / 1000)),
    "webhook-signature": webhookSignature(signingToken, id, Math.floor(start / 1000), body),
  });
});

test.each([
  { version: "16.11", absent: ["webhook-id", "webhook-signature", "idempotency-key", "x-gitlab-token"] },
  { version: "18.2", absent: ["webhook-id", "webhook-signature", "x-gitlab-token"] },
] as const)("$version without a secret sends none of $absent", async ({ version, absent }) => {
  const { gitlab, shop, alice } = await scene({}, version);
  gitlab.startPipeline(shop, { user: alice, jobs: ["test"] });
  await gitlab.flush();
  for (const name of absent) expect(received[0]?.headers).not.toHaveProperty(name);
});

describe("Job Hook", () => {
  test("has the quirks of the real one", async () => {
    const { gitlab, shop, alice } = await scene({ events: ["job"] });
    const pipeline = gitlab.startPipeline(shop, { user: alice, jobs: [{ name: "ship", environment: "production" }] });
    const job = pipeline.jobs[0]!;
    gitlab.runJob(job);
    await gitlab.flush();
    expect(statuses()).toEqual(["created", "pending", "running"]);
    expect(arrived()[0]).toMatchObject({ build_started_at: null, runner: null });
    expect(arrived()[2]).toMatchObject({
      object_kind: "build",
      ref: "main",
      tag: false,
      sha: pipeline.sha,
      retries_count: 0,
      build_id: job.id,
      build_created_at: "2026-11-24 09:30:12 UTC",
      build_created_at_iso: "2026-11-24T09:30:12Z",
      build_finished_at: null,
      build_finished_at_iso: null,
      build_failure_reason: "unknown_failure",
      pipeline_id: pipeline.id,
      runner: { id: job.runner.id, runner_type: "instance_type" },
      project_id: shop.id,
      project_name: "Acme / Shop",
      project: { id: shop.id, path_with_namespace: "acme/shop" },
      user: { id: alice.id, username: "alice", email: "[REDACTED]" },
      commit: { id: pipeline.id, sha: pipeline.sha },
      repository: { name: "shop", homepage: `${gitlab.issuer}/acme/shop` },
      environment: { name: "production", action: "start", deployment_tier: "production" },
    });
  });

  test("of a merge request's job carries the merge request's ref, its Pipeline Hook the branch", async () => {
    const { gitlab, shop, alice } = await scene();
    const sha = gitlab.pushCommit(shop, "feature");
    const mergeRequest = gitlab.openMergeRequest(shop, { sourceBranch: "feature", author: alice });
    gitlab.startPipeline(shop, { source: "merge_request_event", mergeRequest, user: alice, jobs: ["test"] });
    await gitlab.flush();
    const [, pipeline, job] = arrived();
    expect(job).toMatchObject({ ref: "refs/merge-requests/1/head", sha, environment: null });
    expect(pipeline).toMatchObject({
      object_kind: "pipeline",
      object_attributes: { ref: "feature", sha, source: "merge_request_event", status: "created" },
      merge_request: { iid: 1, target_project_id: shop.id, detailed_merge_status: "mergeable" },
      builds: [{ name: "test", status: "created" }],
    });
  });

  test("before 19.0 has no ISO times", async () => {
    const { gitlab, shop, alice } = await scene({}, "18.2");
    gitlab.startPipeline(shop, { user: alice, jobs: ["test"] });
    await gitlab.flush();
    expect(arrived()[1]).toHaveProperty("build_created_at");
    expect(arrived()[1]).not.toHaveProperty("build_created_at_iso");
  });

  test("tells of every status of a canceled and retried job", async () => {
    const { gitlab, shop, alice } = await scene({ events: ["job"] });
    const job = gitlab.startPipeline(shop, { user: alice, jobs: ["test"] }).jobs[0]!;
    gitlab.runJob(job);
    gitlab.cancelJob(job);
    gitlab.finishCancel(job);
    const again = gitlab.retryJob(job);
    await gitlab.flush();
    expect(statuses()).toEqual(["created", "pending", "running", "canceling", "canceled", "created", "pending"]);
    expect(arrived().at(-1)).toMatchObject({ build_id: again.id, retries_count: 1, pipeline_id: job.pipeline.id });
  });
});

test("Merge Request Hooks name the action, and oldrev only when code changed", async () => {
  const { gitlab, shop, alice } = await scene({ events: ["merge_request"] });
  shop.approvalsRequired = 2;
  const bob = gitlab.createUser({ username: "bob" });
  const before = gitlab.pushCommit(shop, "feature");
  const mergeRequest = gitlab.openMergeRequest(shop, { sourceBranch: "feature", author: alice });
  gitlab.approve(mergeRequest, alice);
  const after = gitlab.pushCommit(shop, "feature", { author: alice });
  gitlab.approve(mergeRequest, alice);
  gitlab.approve(mergeRequest, bob);
  gitlab.unapprove(mergeRequest, bob);
  gitlab.unapprove(mergeRequest, alice);
  gitlab.closeMergeRequest(mergeRequest, alice);
  gitlab.reopenMergeRequest(mergeRequest, alice);
  shop.approvalsRequired = 0;
  gitlab.mergeMergeRequest(mergeRequest, { user: bob });
  await gitlab.flush();
  const attributes = arrived().map((body) => body.object_attributes);
  const actions = "open approval update approval approved unapproved unapproval close reopen merge".split(" ");
  expect(attributes.map((entry) => entry.action)).toEqual(actions);
  expect(attributes.filter((entry) => "oldrev" in entry)).toEqual([attributes[2]]);
  expect(attributes[2]).toMatchObject({ oldrev: before, last_commit: { id: after }, merge_commit_sha: null });
  expect(attributes.at(-1)).toMatchObject({ state: "merged", merge_commit_sha: mergeRequest.mergeCommitSha });
  expect(received[0]?.headers["x-gitlab-event"]).toBe("Merge Request Hook");
});

describe("delivery", () => {
  test("goes only to the hooks of the project where it happened, with the events they chose", async () => {
    const { gitlab, alice } = await scene();
    const other = gitlab.createProject({ path: "acme/other" });
    gitlab.startPipeline(other, { user: alice, jobs: ["test"] });
    await gitlab.flush();
    expect(received).toEqual([]);
    expect(gitlab.deliveries).toEqual([]);
  });

  test("again is the same body under the same key at another time", async () => {
    const { gitlab, shop, alice } = await scene({ signingToken, events: ["job"] });
    gitlab.startPipeline(shop, { user: alice, jobs: ["test"] });
    await gitlab.flush();
    now += 600_000;
    await gitlab.redeliver(gitlab.deliveries[0]!);
    const [one, two] = received;
    expect(two?.body).toBe(one?.body);
    expect(two?.headers["idempotency-key"]).toBe(one?.headers["idempotency-key"]);
    expect(two?.headers["webhook-signature"]).not.toBe(one?.headers["webhook-signature"]);
    expect(gitlab.deliveries[0]?.attempts).toBe(2);
  });

  test("can be held, and then come late, reversed, doubled or not at all", async () => {
    const { gitlab, shop, alice } = await scene({ events: ["job"] });
    gitlab.holdHooks();
    const job = gitlab.startPipeline(shop, { user: alice, jobs: ["test"] }).jobs[0]!;
    gitlab.runJob(job);
    gitlab.succeedJob(job);
    await gitlab.flush();
    expect(received).toEqual([]);
    await gitlab.releaseHooks(([created, , running, success]) => [success!, running!, running!, created!]);
    expect(statuses()).toEqual(["success", "running", "running", "created"]);
    expect(gitlab.deliveries.map((entry) => entry.state)).toEqual(["delivered", "lost", "delivered", "delivered"]);
    gitlab.retryJob(job);
    await gitlab.flush();
    expect(statuses()).toHaveLength(6); // no longer holding
  });

  test.each([404, 500])("answered with %i has failed and is not tried again", async (status) => {
    answer = status;
    const { gitlab, shop, alice } = await scene({ events: ["job"] });
    gitlab.startPipeline(shop, { user: alice, jobs: ["test"] });
    await gitlab.flush();
    expect(gitlab.deliveries[0]).toMatchObject({ state: "failed", status, attempts: 1 });
    expect(received).toHaveLength(1);
  });

  test("to nobody has failed without an answer", async () => {
    const gone = await listen({}, () => ({ status: 204, body: "" }));
    await gone.close();
    const { gitlab, shop, alice } = await scene({ url: gone.origin, events: ["job"] });
    gitlab.startPipeline(shop, { user: alice, jobs: ["test"] });
    await gitlab.flush();
    expect(gitlab.deliveries[0]).toMatchObject({ state: "failed", status: undefined });
  });
});
