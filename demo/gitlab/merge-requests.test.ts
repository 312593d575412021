import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Gitlab, startGitlab } from "./gitlab.ts";
import { type MergeMethod, mergeRequestsOfCommit } from "./merge-requests.ts";
import type { MergeRequest, Project, User } from "./types.ts";

let gitlab: Gitlab;
let alice: User;
let bob: User;
let shop: Project;
let first: string;
let mergeRequest: MergeRequest;
let projects = 0;

beforeAll(async () => {
  gitlab = await startGitlab({ now: () => 1_790_000_000_000 });
  alice = gitlab.createUser({ username: "alice" });
  bob = gitlab.createUser({ username: "bob" });
});
afterAll(() => gitlab.close());
beforeEach(() => {
  shop = gitlab.createProject({ path: `acme/shop-${++projects}` });
  first = gitlab.pushCommit(shop, "feature");
  mergeRequest = gitlab.openMergeRequest(shop, { sourceBranch: "feature", author: alice });
});

const head = () => shop.branches.get("main")?.sha;
const start = (options: object) => gitlab.startPipeline(shop, { user: alice, jobs: ["test"], ...options });

describe("sha and ref of a pipeline", () => {
  test.each(["push", "web", "schedule", "api"] as const)("%s: the branch's head", (source) => {
    expect(start({ source, ref: "feature" })).toMatchObject({ sha: first, ref: "feature", sourceRef: "feature" });
  });

  test("merge request: the source branch's head, under the request's own ref", () => {
    const pipeline = start({ source: "merge_request_event", mergeRequest });
    const ref = `refs/merge-requests/${mergeRequest.iid}/head`;
    expect(pipeline).toMatchObject({ sha: first, ref, sourceRef: "feature", refProtected: false });
    expect(mergeRequest.headPipelineId).toBe(pipeline.id);
  });

  test("merged results: a merge commit that is no branch's head and belongs to no merge request", () => {
    const pipeline = start({ source: "merge_request_event", mergeRequest, mergedResults: true });
    expect(pipeline.ref).toBe(`refs/merge-requests/${mergeRequest.iid}/merge`);
    expect([...shop.branches.values()].map((branch) => branch.sha)).not.toContain(pipeline.sha);
    expect(shop.commits.get(pipeline.sha)?.parents).toEqual([head(), first]);
    expect(mergeRequestsOfCommit(shop, pipeline.sha)).toEqual([]);
  });

  test.each([
    { name: "without a merge request", options: () => ({ source: "merge_request_event" }) },
    { name: "with one it does not come from", options: () => ({ mergeRequest }) },
    { name: "on a branch that is not there", options: () => ({ ref: "nowhere" }) },
    { name: "on a tag that is not there", options: () => ({ ref: "main", tag: true }) },
  ])("refused: $name", ({ options }) => {
    expect(() => start(options())).toThrow(TypeError);
  });

  test("a project that is neither source nor target cannot run it", () => {
    const other = gitlab.createProject({ path: `acme/other-${projects}` });
    const options = { source: "merge_request_event", mergeRequest, user: alice, jobs: ["x"] } as const;
    expect(() => gitlab.startPipeline(other, options)).toThrow(TypeError);
  });
});

describe("merging", () => {
  test.each<{ method: MergeMethod; names: readonly string[] }>([
    { method: "merge", names: ["mergeCommitSha"] },
    { method: "squash", names: ["squashCommitSha"] },
    { method: "squash_with_merge_commit", names: ["mergeCommitSha", "squashCommitSha"] },
    { method: "fast_forward", names: [] },
  ])("$method sets $names, and the target's next pipeline runs what was merged", ({ method, names }) => {
    gitlab.mergeMergeRequest(mergeRequest, { user: bob, method });
    const set = (["mergeCommitSha", "squashCommitSha"] as const).filter((name) => mergeRequest[name] !== undefined);
    expect(set).toEqual(names);
    const expected = mergeRequest.mergeCommitSha ?? mergeRequest.squashCommitSha ?? mergeRequest.sha;
    expect(start({}).sha).toBe(expected);
    expect(mergeRequest).toMatchObject({ state: "merged", sha: first, mergedBy: bob });
    expect(mergeRequestsOfCommit(shop, expected)).toEqual([mergeRequest]);
  });

  test.each(["merged", "closed"])("a %s request cannot be merged, approved or closed", (state) => {
    if (state === "merged") gitlab.mergeMergeRequest(mergeRequest, { user: bob });
    else gitlab.closeMergeRequest(mergeRequest, bob);
    expect(() => gitlab.mergeMergeRequest(mergeRequest, { user: bob })).toThrow(state);
    expect(() => gitlab.approve(mergeRequest, bob)).toThrow(state);
    expect(() => gitlab.closeMergeRequest(mergeRequest, bob)).toThrow(state);
  });

  test("a request without its approvals cannot be merged", () => {
    shop.approvalsRequired = 1;
    expect(() => gitlab.mergeMergeRequest(mergeRequest, { user: bob })).toThrow("not_approved");
    gitlab.approve(mergeRequest, bob);
    expect(gitlab.mergeMergeRequest(mergeRequest, { user: bob }).state).toBe("merged");
  });
});

test("an earlier commit of a merge request leads to it too, but is not its head", () => {
  const second = gitlab.pushCommit(shop, "feature");
  expect(mergeRequest.commits).toEqual([first, second]);
  expect(mergeRequestsOfCommit(shop, first)).toEqual([mergeRequest]);
  expect(mergeRequest.sha).toBe(second);
});

test("a force push takes the replaced commit out of the merge request", () => {
  const second = gitlab.pushCommit(shop, "feature", { force: true });
  expect(mergeRequest.commits).toEqual([second]);
  expect(mergeRequestsOfCommit(shop, first)).toEqual([]);
});

test("a fork's commits can be read in the target, where its merge request lives", () => {
  const fork = gitlab.forkProject(shop, { path: `mallory/shop-${projects}` });
  const evil = gitlab.pushCommit(fork, "evil");
  const foreign = gitlab.openMergeRequest(shop, { sourceProject: fork, sourceBranch: "evil", author: bob });
  expect(mergeRequestsOfCommit(shop, evil)).toEqual([foreign]);
  expect(mergeRequestsOfCommit(fork, evil)).toEqual([]);
});

test.each([
  { resets: true, left: 0 },
  { resets: false, left: 1 },
])("a push leaves $left approvals when the reset setting is $resets", ({ resets, left }) => {
  shop.resetApprovalsOnPush = resets;
  gitlab.approve(mergeRequest, bob);
  gitlab.pushCommit(shop, "main");
  expect(mergeRequest.approvals).toHaveLength(1); // not the source branch
  gitlab.pushCommit(shop, "feature");
  expect(mergeRequest.approvals).toHaveLength(left);
});

test("one person approves once, and only an approval can be taken back", () => {
  gitlab.approve(mergeRequest, bob);
  expect(() => gitlab.approve(mergeRequest, bob)).toThrow(TypeError);
  gitlab.unapprove(mergeRequest, bob);
  expect(() => gitlab.unapprove(mergeRequest, bob)).toThrow(TypeError);
});

test("a renamed project keeps its id, and its old path can belong to somebody else", () => {
  const path = shop.path;
  gitlab.renameProject(shop, `${path}-old`);
  const squatter = gitlab.createProject({ path });
  expect(squatter.id).not.toBe(shop.id);
  expect(() => gitlab.createProject({ path })).toThrow("exists already");
});
