import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import { branchJob, forkJob, without } from "./claims.fake.ts";
import { gitlab } from "./provider.ts";

const issuer = { name: "gitlab", url: "https://gitlab.example" };
const identity = (claims: Readonly<Record<string, unknown>>) => gitlab.identity(claims, issuer);
const jobClaims = ["job_project_id", "job_project_path", "job_namespace_id", "job_namespace_path"];

test("a branch pipeline's job yields its whole identity", () => {
  expect(identity(branchJob)).toEqual({
    issuer: "gitlab",
    issuerType: "gitlab",
    kind: "job",
    project: { id: "1042", path: "acme/web/shop" },
    pipelineId: "5101",
    job: { id: "7712" },
    ref: "main",
    refType: "branch",
    sha: "a".repeat(40),
    environment: "review/feature-x",
    triggeredBy: { id: "5", login: "jdoe" },
    runner: { id: "9", environment: "self-hosted" },
    fork: "no",
    attributes: {
      project: ["acme/web/shop"],
      project_id: ["1042"],
      group: ["acme", "acme/web"],
      namespace_id: ["72"],
      ref: "main",
      ref_type: "branch",
      ref_protected: true,
      source: "push",
      environment: "review/feature-x",
      environment_protected: false,
      deployment_tier: "development",
      environment_action: "start",
      user_id: "5",
      user_login: "jdoe",
      user_access_level: "developer",
      groups_direct: ["acme", "acme/web"],
      runner_id: "9",
      runner_environment: "self-hosted",
      project_visibility: "private",
      ci_config_ref_uri: "gitlab.example/acme/web/shop//.gitlab-ci.yml@refs/heads/main",
      job_source: "pipeline",
    },
    variables: {
      "job.project_id": "1042",
      "job.pipeline_id": "5101",
      "job.id": "7712",
      "job.ref_slug": "main",
      "environment.name": "review/feature-x",
      "environment.slug": expect.stringMatching(/^review-feature-x-[a-z0-9]{6}$/),
    },
  });
});

test("attributes and variables are only those the tables declare", () => {
  const { attributes, variables } = identity(branchJob);
  expect(Object.keys(gitlab.fields)).toEqual(expect.arrayContaining(Object.keys(attributes)));
  expect(Object.keys(gitlab.variables).toSorted()).toEqual(Object.keys(variables).toSorted());
});

test("the oldest tokens, with nothing that came later, are understood", () => {
  const later = ["sha", "ref_path", "runner_id", "runner_environment", "user_access_level", "groups_direct"];
  const environment = ["environment", "environment_protected", "deployment_tier", "environment_action"];
  const others = ["ci_config_ref_uri", "ci_config_sha", "project_visibility", "job_source", "user_email"];
  const job = identity(without(branchJob, ...jobClaims, ...later, ...environment, ...others));
  expect(job).toMatchObject({ project: { id: "1042" }, fork: "no" });
  expect(job).not.toHaveProperty("sha");
  expect(job).not.toHaveProperty("runner");
  expect(job).not.toHaveProperty("environment");
  expect(Object.values(job.attributes)).not.toContain(undefined);
});

test("claims that may be null count as absent", () => {
  const job = identity({ ...branchJob, user_access_level: null, ci_config_ref_uri: null, environment: null });
  expect(job.attributes).not.toHaveProperty("user_access_level");
  expect(job).not.toHaveProperty("environment");
});

test("claims nobody knows yet are ignored", () => {
  expect(identity({ ...branchJob, quantum: true, target_audience: "x" })).toEqual(identity(branchJob));
});

test("sub is never read", () => {
  expect(identity({ ...branchJob, sub: "whatever" })).toEqual(identity(branchJob));
  expect(identity(without(branchJob, "sub"))).toEqual(identity(branchJob));
});

describe("fork status", () => {
  const source = (pipeline_source: string, more: object = {}) => ({ ...branchJob, pipeline_source, ...more });
  test.each([
    { what: "18.4: a branch pipeline", claims: branchJob, fork: "no" },
    { what: "18.4: a fork's merge request in the target", claims: forkJob, fork: "yes" },
    { what: "18.4: a merge request of the project itself", claims: source("merge_request_event"), fork: "no" },
    {
      what: "18.4: a child pipeline of a fork's merge request",
      claims: { ...forkJob, pipeline_source: "parent_pipeline" },
      fork: "yes",
    },
    {
      what: "18.4: a fork's own pipeline in the fork",
      claims: source("push", { project_id: "6", job_project_id: "6" }),
      fork: "no",
    },
    { what: "before: a branch pipeline", claims: without(branchJob, ...jobClaims), fork: "no" },
    { what: "before: a schedule", claims: without(source("schedule"), ...jobClaims), fork: "no" },
    { what: "before: a downstream pipeline", claims: without(source("pipeline"), ...jobClaims), fork: "no" },
    {
      what: "18.3: a fork's merge request, under the fork's name",
      claims: without(forkJob, ...jobClaims),
      fork: "unknown",
    },
    {
      what: "16.11: any merge request, under the target's name",
      claims: without(source("merge_request_event"), ...jobClaims),
      fork: "unknown",
    },
    {
      what: "before: a child pipeline, whose parent may be a merge request's",
      claims: without(source("parent_pipeline"), ...jobClaims),
      fork: "unknown",
    },
    {
      what: "before: a ref of a merge request",
      claims: without(source("push", { ref_path: "refs/merge-requests/7/head" }), ...jobClaims),
      fork: "unknown",
    },
    { what: "before: a source nobody knows", claims: without(source("teleport"), ...jobClaims), fork: "unknown" },
  ])("$what: $fork", ({ claims, fork }) => {
    expect(identity(claims).fork).toBe(fork);
  });
});

describe("a fork's job", () => {
  const { project, attributes } = identity(forkJob);
  test("is the fork's project, and names both", () => {
    expect(project).toEqual({ id: "6666", path: "mallory/shop" });
    expect(attributes).toMatchObject({
      project: ["mallory/shop", "acme/web/shop"],
      project_id: ["6666", "1042"],
      namespace_id: ["900", "72"],
    });
  });

  test("is in no group, neither the target's nor its own", () => {
    expect(attributes).not.toHaveProperty("group");
  });

  test("inside the target's group is in what is above both, and no further", () => {
    const inside = identity({ ...forkJob, project_path: "acme/sandbox/shop" });
    expect(inside.attributes.group).toEqual(["acme"]);
  });

  test("has no namespace ids where only one of them is known", () => {
    expect(identity(without(forkJob, "job_namespace_id")).attributes).not.toHaveProperty("namespace_id");
  });
});

test("a group is a whole path: acme-evil is not in acme", () => {
  expect(
    identity({ ...branchJob, project_path: "acme-evil/shop", job_project_path: "acme-evil/shop" }).attributes.group,
  ).toEqual(["acme-evil"]);
});

describe("identity_refused:", () => {
  const change = (claim: string, value: unknown) => ({ claim, claims: { ...branchJob, [claim]: value } });
  const required = [
    "project_id",
    "project_path",
    "namespace_id",
    "pipeline_id",
    "pipeline_source",
    "job_id",
    "ref",
    "ref_type",
    "ref_protected",
    "user_id",
    "user_login",
  ];
  test.each([
    ...required.map((claim) => ({ what: "missing", claim, claims: without(branchJob, claim) })),
    ...required.map((claim) => ({ what: "null", ...change(claim, null) })),
    ...["project_id", "job_id", "pipeline_id", "user_id", "namespace_id", "job_project_id"].map((claim) => ({
      what: "a number",
      ...change(claim, 1042),
    })),
    ...["ref_protected", "environment_protected"].flatMap((claim) => [
      { what: "true, not text", ...change(claim, true) },
      { what: "in capitals", ...change(claim, "TRUE") },
      { what: "1", ...change(claim, "1") },
    ]),
    { what: "text", ...change("runner_id", "9") },
    { what: "a fraction", ...change("runner_id", 9.5) },
    { what: "an id with a sign", ...change("project_id", "-1") },
    { what: "an id with a zero before it", ...change("project_id", "01042") },
    { what: "an id with a line break", ...change("project_id", "1042\n") },
    { what: "an id of other digits", ...change("project_id", "１０４２") },
    { what: "an id that is a path", ...change("project_id", "1042/../7") },
    { what: "an id that is too long", ...change("project_id", "1".repeat(21)) },
    { what: "a path without a group", ...change("project_path", "shop") },
    { what: "a path with a dot segment", ...change("project_path", "acme/../shop") },
    { what: "a path with an empty segment", ...change("project_path", "acme//shop") },
    { what: "a path with a space", ...change("project_path", "acme/my shop") },
    { what: "a path with a glob", ...change("project_path", "acme/*") },
    { what: "a path with an escape", ...change("project_path", "acme/%2e%2e") },
    { what: "a path that is a list", ...change("project_path", ["acme/web/shop"]) },
    { what: "of another kind", ...change("ref_type", "merge_request") },
    { what: "with a line break", ...change("ref", "main\nref: evil") },
    { what: "with NUL", ...change("environment", "production\0") },
    { what: "with half a character", ...change("user_login", "\ud800") },
    { what: "empty", ...change("environment", "") },
    { what: "enormous", ...change("ref", "x".repeat(1025)) },
    { what: "no hash", ...change("sha", "main") },
    { what: "a hash cut short", ...change("sha", "a".repeat(39)) },
    { what: "text", ...change("groups_direct", "acme") },
    { what: "a list of numbers", ...change("groups_direct", [1]) },
  ])("$claim is $what", ({ claim, claims }) => {
    expect(() => identity(claims)).toThrow(
      expect.objectContaining({ code: "identity_refused", message: expect.stringContaining(`"${claim}"`) }),
    );
  });

  test.each([
    { what: "id without path", claims: without(branchJob, "job_project_path") },
    { what: "path without id", claims: without(branchJob, "job_project_id") },
  ])("half of where the job runs: $what", ({ claims }) => {
    expect(() => identity(claims)).toThrow("only one of job_project_id and job_project_path");
  });

  test("a person's sign-in token of the same issuer, which is said", () => {
    const person = {
      iss: issuer.url,
      sub: "5",
      aud: "app",
      name: "J Doe",
      groups_direct: ["acme"],
      email_verified: true,
    };
    expect(() => identity(person)).toThrow(
      expect.objectContaining({
        code: "identity_refused",
        message: expect.stringContaining("a person's sign-in token"),
      }),
    );
  });

  test("values are never quoted, only their kind", () => {
    expect(() => identity({ ...branchJob, job_id: "glpat-secret" })).toThrow(/^(?!.*glpat).*it is a string/);
  });
});

test("arbitrary claims yield an identity of the right shape or identity_refused", () => {
  const names = Object.keys(branchJob);
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names), fc.jsonValue()), (changed) => {
      try {
        const job = identity({ ...branchJob, ...changed });
        expect(job.project.id).toMatch(/^[1-9]\d{0,19}$/);
        expect(job.project.path).toMatch(/^[\w.-]+(\/[\w.-]+)+$/);
        expect(["yes", "no", "unknown"]).toContain(job.fork);
      } catch (error) {
        expect(error).toBeInstanceOf(WayleaveError);
        expect(error).toMatchObject({ code: "identity_refused" });
      }
    }),
    { numRuns: 500 },
  );
});

test("arbitrary payloads never yield an identity", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (payload) => {
      expect(() => identity(payload)).toThrow(WayleaveError);
    }),
  );
});

test("the API is below the instance, relative root included", () => {
  expect(gitlab.api?.url("https://dev.example/gitlab")).toBe("https://dev.example/gitlab/api/v4");
});
