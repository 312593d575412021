import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import { pullRequestJob, pushJob } from "./claims.fake.ts";
import { github } from "./provider.ts";

const issuer = { name: "github", url: "https://token.actions.githubusercontent.com" };
const identity = (claims: Readonly<Record<string, unknown>>) => github.identity(claims, issuer);
const without = (claims: Readonly<Record<string, unknown>>, ...names: string[]) =>
  Object.fromEntries(Object.entries(claims).filter(([name]) => !names.includes(name)));

test("a push job yields its whole identity", () => {
  expect(identity(pushJob)).toEqual({
    issuer: "github",
    issuerType: "github",
    kind: "job",
    project: { id: "74201", path: "acme/shop" },
    pipelineId: "9001",
    job: { id: "500100" },
    ref: "main",
    refType: "branch",
    sha: "a".repeat(40),
    environment: "production",
    triggeredBy: { id: "12", login: "dana" },
    runner: { environment: "github-hosted" },
    fork: "no",
    attributes: {
      repository: "acme/shop",
      repository_id: "74201",
      repository_owner: "acme",
      repository_owner_id: "65",
      repository_visibility: "private",
      ref: "main",
      ref_type: "branch",
      ref_protected: true,
      event_name: "push",
      environment: "production",
      workflow_ref: "acme/shop/.github/workflows/ci.yml@refs/heads/main",
      job_workflow_ref: "acme/shop/.github/workflows/ci.yml@refs/heads/main",
      actor: "dana",
      actor_id: "12",
      runner_environment: "github-hosted",
      run_attempt: "1",
      enterprise: "acme-corp",
      enterprise_id: "3",
    },
    variables: {
      "job.project_id": "74201",
      "job.pipeline_id": "9001",
      "job.id": "500100",
      "environment.name": "production",
    },
  });
});

test("attributes and variables are only those the tables declare", () => {
  const { attributes, variables } = identity({ ...pullRequestJob, environment: "review" });
  expect(Object.keys(github.fields)).toEqual(expect.arrayContaining(Object.keys(attributes)));
  expect(Object.keys(github.variables).toSorted()).toEqual(Object.keys(variables).toSorted());
});

test("an older Enterprise Server's token names only the run, which its jobs share", () => {
  const old = identity(without(pushJob, "check_run_id", "enterprise", "enterprise_id", "ref_protected", "environment"));
  expect(old.job).toEqual({ id: "9001.1", ofRun: true });
  expect(old.attributes).not.toHaveProperty("ref_protected");
  expect(old).not.toHaveProperty("environment");
});

test("sub is never read, and claims nobody knows yet are ignored", () => {
  expect(identity({ ...pushJob, sub: "whatever", repo_property_team: "x" })).toEqual(identity(pushJob));
});

describe("a ref", () => {
  test.each([
    { what: "of a branch", claims: pushJob, ref: "main", type: "branch" },
    {
      what: "of a tag",
      claims: { ...pushJob, ref: "refs/tags/v1.2", ref_type: "tag", event_name: "release" },
      ref: "v1.2",
      type: "tag",
    },
    { what: "of a pull request is no branch", claims: pullRequestJob, ref: "refs/pull/7/merge", type: "branch" },
    {
      what: "of a merge queue",
      claims: { ...pushJob, ref: "refs/heads/gh-readonly-queue/main/pr-7-a", event_name: "merge_group" },
      ref: "gh-readonly-queue/main/pr-7-a",
      type: "branch",
    },
  ])("$what is $ref", ({ claims, ref, type }) => {
    expect(identity(claims)).toMatchObject({ ref, refType: type, attributes: { ref, ref_type: type } });
  });

  test.each([
    { what: "a branch that is named like a pull request's", ref: "refs/heads/refs/pull/7/merge", ref_type: "branch" },
    { what: "a tag under a branch's type", ref: "refs/tags/main", ref_type: "branch" },
    { what: "a branch under a tag's type", ref: "refs/heads/main", ref_type: "tag" },
    { what: "a pull request under a tag's type", ref: "refs/pull/7/merge", ref_type: "tag" },
    { what: "a bare name", ref: "main", ref_type: "branch" },
    { what: "no name", ref: "refs/heads/", ref_type: "branch" },
    { what: "another namespace", ref: "refs/notes/x", ref_type: "branch" },
  ])("$what is refused", ({ ref, ref_type }) => {
    expect(() => identity({ ...pushJob, ref, ref_type })).toThrow(
      expect.objectContaining({ code: "identity_refused" }),
    );
  });
});

describe("fork status", () => {
  const of = (event_name: string, more: object = {}) => ({ ...pushJob, event_name, ...more });
  const publicly = { repository_visibility: "public" };
  test.each([
    { what: "a push", claims: pushJob, fork: "no" },
    { what: "a schedule", claims: of("schedule"), fork: "no" },
    { what: "a start by hand", claims: of("workflow_dispatch"), fork: "no" },
    { what: "a merge queue", claims: of("merge_group"), fork: "no" },
    {
      what: "a public pull request, which gets a token only from a branch",
      claims: { ...pullRequestJob, ...publicly },
      fork: "no",
    },
    { what: "a private pull request, where a setting may give forks tokens", claims: pullRequestJob, fork: "unknown" },
    {
      what: "an internal pull request",
      claims: { ...pullRequestJob, repository_visibility: "internal" },
      fork: "unknown",
    },
    { what: "pull_request_target", claims: of("pull_request_target", publicly), fork: "unknown" },
    { what: "workflow_run", claims: of("workflow_run"), fork: "unknown" },
    { what: "a comment", claims: of("issue_comment"), fork: "unknown" },
    { what: "a review", claims: of("pull_request_review", publicly), fork: "unknown" },
    { what: "a push of a pull request's ref", claims: { ...pullRequestJob, event_name: "push" }, fork: "unknown" },
    { what: "an event nobody knows", claims: of("teleport"), fork: "unknown" },
    { what: "an event in capitals", claims: of("PUSH"), fork: "unknown" },
  ])("$what: $fork", ({ claims, fork }) => {
    expect(identity(claims).fork).toBe(fork);
  });
});

describe("identity_refused:", () => {
  const change = (claim: string, value: unknown) => ({ claim, claims: { ...pushJob, [claim]: value } });
  const required = [
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "repository_visibility",
    "ref",
    "ref_type",
    "sha",
    "event_name",
    "run_id",
    "run_attempt",
    "workflow_ref",
    "actor",
    "actor_id",
    "runner_environment",
  ];
  test.each([
    ...required.map((claim) => ({ what: "missing", claim, claims: without(pushJob, claim) })),
    ...required.map((claim) => ({ what: "null", ...change(claim, null) })),
    ...required.map((claim) => ({ what: "empty", ...change(claim, "") })),
    ...["repository_id", "run_id", "check_run_id", "run_attempt"].flatMap((claim) => [
      { what: "a number", ...change(claim, 7) },
      { what: "an id with a sign", ...change(claim, "-1") },
      { what: "an id with a zero before it", ...change(claim, "07") },
      { what: "an id with a line break", ...change(claim, "7\n") },
    ]),
    { what: "true, not text", ...change("ref_protected", true) },
    { what: "in capitals", ...change("ref_protected", "TRUE") },
    { what: "no path", ...change("repository", "shop") },
    { what: "a path of three", ...change("repository", "acme/shop/x") },
    { what: "a path with a glob", ...change("repository", "acme/*") },
    { what: "a path with a dot segment", ...change("repository", "acme/..") },
    { what: "no commit", ...change("sha", "main") },
    { what: "a kind of runner nobody knows", ...change("runner_environment", "hosted") },
    { what: "with a line break", ...change("event_name", "push\nx") },
  ])("$claim is $what", ({ claim, claims }) => {
    expect(() => identity(claims)).toThrow(
      expect.objectContaining({ code: "identity_refused", message: expect.stringContaining(`"${claim}"`) }),
    );
  });

  test("a repository of another owner than the token's", () => {
    expect(() => identity({ ...pushJob, repository_owner: "mallory" })).toThrow("not of its repository_owner");
  });
});

test("arbitrary claims yield an identity of the right shape or identity_refused", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...Object.keys(pushJob)), fc.jsonValue()), (changed) => {
      try {
        const job = identity({ ...pushJob, ...changed });
        expect(job.project.id).toMatch(/^[1-9]\d{0,19}$/);
        expect(job.project.path).toMatch(/^[\w-]+\/[\w.-]+$/);
      } catch (error) {
        expect(error).toBeInstanceOf(WayleaveError);
        expect(error).toMatchObject({ code: "identity_refused" });
      }
    }),
    { numRuns: 300 },
  );
});

test.each([
  { issuer: "https://token.actions.githubusercontent.com", api: "https://api.github.com" },
  { issuer: "https://token.actions.githubusercontent.com/acme-corp", api: "https://api.github.com" },
  { issuer: "https://token.actions.acme.ghe.com", api: "https://api.acme.ghe.com" },
  { issuer: "https://github.acme.example/_services/token", api: "https://github.acme.example/api/v3" },
  { issuer: "https://token.actions.evil.example", api: "https://token.actions.evil.example/api/v3" },
])("the API of $issuer is $api", ({ issuer: url, api }) => {
  expect(github.api?.url(url)).toBe(api);
});

test("a hosted runner is ephemeral by the token's word; of another it says nothing", () => {
  expect(github.claimFacts?.(identity(pushJob))).toEqual({ "runner.ephemeral": true });
  expect(github.claimFacts?.(identity({ ...pushJob, runner_environment: "self-hosted" }))).toEqual({});
});
