import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import { stepJob } from "./claims.fake.ts";
import { buildkite } from "./provider.ts";

const issuer = { name: "bk", url: "https://agent.buildkite.com" };
const identity = (claims: Readonly<Record<string, unknown>>) => buildkite.identity(claims, issuer);
const without = (...names: string[]) =>
  Object.fromEntries(Object.entries(stepJob).filter(([name]) => !names.includes(name)));

test("a step's job yields its whole identity: the pipeline is the project, the build the pipeline", () => {
  expect(identity(stepJob)).toEqual({
    issuer: "bk",
    issuerType: "buildkite",
    kind: "job",
    project: { id: stepJob.pipeline_id, path: "acme/shop-e2e" },
    pipelineId: "481",
    job: { id: stepJob.job_id },
    ref: "main",
    refType: "branch",
    sha: "a".repeat(40),
    runner: { id: stepJob.agent_id, environment: "self-hosted" },
    fork: "unknown",
    attributes: {
      organization: "acme",
      organization_id: stepJob.organization_id,
      pipeline: "shop-e2e",
      pipeline_id: stepJob.pipeline_id,
      ref: "main",
      ref_type: "branch",
      source: "webhook",
      step: "smoke",
      runner_environment: "self-hosted",
    },
    variables: { "job.project_id": stepJob.pipeline_id, "job.pipeline_id": "481", "job.id": stepJob.job_id },
  });
});

test("attributes and variables are only those the tables declare", () => {
  const { attributes, variables } = identity(stepJob);
  expect(Object.keys(buildkite.fields)).toEqual(expect.arrayContaining(Object.keys(attributes)));
  expect(Object.keys(buildkite.variables).toSorted()).toEqual(Object.keys(variables).toSorted());
});

test("a pipeline's slug anchors no selector by itself: other organizations can take it", () => {
  const anchors = Object.entries(buildkite.fields).filter(([, field]) => field.anchors);
  expect(anchors.map(([name]) => name)).toEqual(["organization", "organization_id", "pipeline_id"]);
});

test.each([
  { what: "a tag build is a tag", claims: { ...stepJob, build_tag: "v1" }, has: { ref: "v1", refType: "tag" } },
  { what: "a step without key has none", claims: { ...stepJob, step_key: null }, has: { refType: "branch" } },
  { what: "the build's own id may be left out", claims: without("build_id"), has: { pipelineId: "481" } },
  {
    what: "an unclustered pipeline sends null",
    claims: { ...stepJob, cluster_id: null, queue_key: null },
    has: { ref: "main" },
  },
  { what: "an agent's tags say nothing", claims: { ...stepJob, "agent_tag:project": "x" }, has: identity(stepJob) },
  { what: "a fork is never ruled out by the token", claims: { ...stepJob, fork: "no" }, has: { fork: "unknown" } },
])("$what", ({ claims, has }) => {
  expect(identity(claims)).toMatchObject(has);
});

test("a build created for HEAD has no commit", () => {
  expect(identity({ ...stepJob, build_commit: "HEAD" })).not.toHaveProperty("sha");
});

describe("identity_refused:", () => {
  const change = (claim: string, value: unknown) => ({ claim, claims: { ...stepJob, [claim]: value } });
  const required = ["organization_slug", "pipeline_slug", "build_number", "build_branch", "build_tag", "build_commit"];
  const others = ["build_source", "step_key", "job_id", "agent_id", "runner_environment"];
  test.each([
    ...[...required, ...others].map((claim) => ({ what: "missing", claim, claims: without(claim) })),
    ...["organization_id", "pipeline_id", "job_id", "build_branch"].map((claim) => ({
      what: "null",
      ...change(claim, null),
    })),
    { what: "text", ...change("build_number", "481") },
    { what: "zero", ...change("build_number", 0) },
    { what: "a fraction", ...change("build_number", 1.5) },
    { what: "no UUID", ...change("pipeline_id", "shop-e2e") },
    { what: "a UUID in capitals", ...change("job_id", String(stepJob.job_id).toUpperCase().replace("0191A", "0191A")) },
    { what: "a UUID and more", ...change("job_id", `${stepJob.job_id}/..`) },
    { what: "a slug with a slash", ...change("pipeline_slug", "a/b") },
    { what: "a slug of dots", ...change("organization_slug", "..") },
    { what: "a slug with a space", ...change("organization_slug", "ac me") },
    { what: "a list", ...change("build_branch", ["main"]) },
    { what: "with a line break", ...change("build_branch", "main\nx") },
    { what: "a number", ...change("step_key", 7) },
  ])("$claim is $what", ({ claim, claims }) => {
    expect(() => identity(claims)).toThrow(
      expect.objectContaining({ code: "identity_refused", message: expect.stringContaining(claim) }),
    );
  });

  test.each([
    { left: ["pipeline_id"], says: "has no pipeline_id:" },
    { left: ["organization_id", "pipeline_id"], says: "has no organization_id and no pipeline_id:" },
  ])("without $left it says how to ask for it", ({ left, says }) => {
    expect(() => identity(without(...left))).toThrow(says);
    expect(() => identity(without(...left))).toThrow("--claim organization_id,pipeline_id,build_id");
  });
});

test("arbitrary claims yield an identity of the right shape or identity_refused", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...Object.keys(stepJob)), fc.jsonValue()), (changed) => {
      try {
        const job = identity({ ...stepJob, ...changed });
        expect(job.project.id).toMatch(/^[0-9a-f-]{36}$/);
        expect(job.project.path).toMatch(/^[\w.-]+\/[\w.-]+$/);
        expect(job.fork).toBe("unknown");
      } catch (error) {
        expect(error).toBeInstanceOf(WayleaveError);
        expect(error).toMatchObject({ code: "identity_refused" });
      }
    }),
    { numRuns: 300 },
  );
});
