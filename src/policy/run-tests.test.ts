import { describe, expect, test } from "vitest";
import { can } from "./can.ts";
import { compile } from "./compile.ts";
import { imagineFacts, imagineIdentity } from "./imagine.ts";
import type { PolicyModel, TestLine, TestModel } from "./model.ts";
import { deny, place, policyModel, role, selector, target } from "./policy.fake.ts";
import { runTests } from "./run-tests.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const line = (source: string, at = 7): TestLine => {
  const [verb = "", name = "", object = ""] = source.split(" ");
  return { source, target: name, verb, object, place: place(at) };
};

const testCase = (
  parts: Partial<TestModel> & { readonly can?: TestLine[]; readonly cannot?: TestLine[] },
): TestModel => ({
  name: "a job may do what it may",
  issuer: "gitlab",
  as: { project: "acme/shop", ref: "main" },
  with: {},
  can: [],
  cannot: [],
  place: place(),
  ...parts,
});

const parts: Partial<PolicyModel> = {
  targets: [
    target("billing"),
    target("events", "nats"),
    target("db", "secret"),
    target("soft", "http", { mode: "observe" }),
  ],
  roles: [
    role(
      "release",
      { billing: ["POST /v1/releases"], events: ["pub build.${job.project_id}"], db: ["read"] },
      {
        when: "change.merged",
      },
    ),
    role("group", { billing: ["GET /group"] }, { for: [selector({ group: "acme" })] }),
    role(
      "main",
      { billing: ["GET /main"] },
      { for: [selector({ project: "acme/shop", ref: "main", ref_type: "branch" })] },
    ),
    role("own", { billing: ["GET /own"] }, { for: [selector({ project: "acme/shop" }, { issuer: "gitlab-eu" })] }),
  ],
  deny: [deny("no-legal", { operations: { billing: ["* /legal"] } })],
};

function run(tests: readonly TestModel[], more: Partial<PolicyModel> = {}) {
  const model = policyModel({ ...parts, tests, ...more });
  return runTests(compile(model, fakeVocabulary), model);
}

describe("a policy's tests hold", () => {
  test.each([
    [
      "for what is allowed and what is not",
      { with: { "change.merged": true }, can: [line("POST billing /v1/releases")], cannot: [line("GET billing /x")] },
    ],
    ["for a missing fact, which denies", { cannot: [line("POST billing /v1/releases"), line("read db")] }],
    ["for a verb", { with: { "change.merged": true }, can: [line("read db")] }],
    [
      "for a subject with the project's id",
      {
        as: { project: "acme/shop", project_id: "7" },
        with: { "change.merged": true },
        can: [line("pub events build.7")],
      },
    ],
    ["for a group above the project", { as: { project: "acme/shop" }, can: [line("GET billing /group")] }],
    ["for a branch, where no ref_type is said", { can: [line("GET billing /main")] }],
    [
      "for a tag, which is no branch",
      { as: { project: "acme/shop", ref: "main", ref_type: "tag" }, cannot: [line("GET billing /main")] },
    ],
    [
      "for a fork, which gets nothing",
      { as: { project: "acme/shop", ref: "main", fork: true }, cannot: [line("GET billing /main")] },
    ],
    [
      "for an agent, which is no job",
      { as: { project: "acme/shop", ref: "main", kind: "agent" }, cannot: [line("GET billing /main")] },
    ],
    [
      "for an issuer by name",
      { issuer: "gitlab-eu", can: [line("GET billing /own"), line("GET billing /main")].slice(0, 1) },
    ],
    ["for an observed denial, which is a denial", { cannot: [line("GET soft /x")] }],
  ])("%s", (_, parts) => {
    expect(run([testCase(parts)])).toEqual([]);
  });
});

describe("a policy's tests fail", () => {
  test.each([
    ["where something allowed should not be", { cannot: [line("GET billing /main", 31)] }, "role main allows it"],
    [
      "where no role is",
      { can: [line("GET db /x", 31)] },
      "it is denied: role release is closest, and fails at operation",
    ],
    [
      "where a fact is missing",
      { can: [line("read db", 31)] },
      "it is denied: change.merged is missing; say under with what it is",
    ],
    [
      "where a condition is false",
      { with: { "change.merged": false }, can: [line("read db", 31)] },
      "it is denied: role release is closest, and fails at change.merged (found false)",
    ],
    ["where a deny forbids it", { can: [line("GET billing /legal", 31)] }, "it is denied: deny no-legal forbids it"],
    ["where the target is unknown", { can: [line("GET nope /", 31)] }, "it is denied: policy has no such target"],
  ])("%s, at the line", (_, parts, label) => {
    const [failure, ...more] = run([testCase(parts)]);
    expect(more).toEqual([]);
    expect(failure).toMatchObject({ code: "test_failed", severity: "error", place: place(31), label });
  });

  test("each line by itself", () => {
    const bad = [line("GET billing /x", 1), line("GET billing /main", 2), line("GET billing /y", 3)];
    expect(run([testCase({ can: bad }), testCase({ cannot: bad })]).map((one) => one.place.line)).toEqual([1, 3, 2]);
  });
});

test("a pinned project has the id it is pinned to", () => {
  const tests = [testCase({ with: { "change.merged": true }, can: [line("pub events build.1042")] })];
  expect(run(tests, { pins: { "gitlab/acme/shop": "1042" } })).toEqual([]);
});

test("an issuer's type is looked up by its name", () => {
  const model = policyModel({
    roles: [role("r", { billing: ["GET /"] }, { for: [selector({ pipeline: "e2e" }, { issuer: "buildkite" })] })],
    tests: [testCase({ issuer: "bk", as: { pipeline: "e2e" }, can: [line("GET billing /")] })],
  });
  const policy = compile(model, fakeVocabulary);
  expect(runTests(policy, model, new Map([["bk", "buildkite"]]))).toEqual([]);
  expect(runTests(policy, model)).toHaveLength(1);
});

test("nats knows four verbs", () => {
  const policy = compile(policyModel(parts), fakeVocabulary);
  const ask = { verb: "GET", target: "events", object: "a" };
  expect(() => can(policy, imagineIdentity("gitlab", "gitlab", {}), {}, ask, 0)).toThrow(/pub, sub, req, pull/);
});

describe("a subject and its queue group", () => {
  const model = policyModel({
    targets: [target("events", "nats")],
    roles: [role("r", { events: ["sub a.> workers", "sub b.>", "pull ORDERS.*"] })],
  });
  const policy = compile(model, fakeVocabulary);
  const identity = imagineIdentity("gitlab", "gitlab", { project: "acme/shop" });
  const ask = (verb: string, object: string) => can(policy, identity, {}, { verb, target: "events", object }, 0);

  test.each([
    ["sub", "a.b workers", "allow"],
    ["sub", "a.b", "deny"],
    ["sub", "a.b others", "deny"],
    ["sub", "b.c others", "allow"],
    ["sub", ">", "deny"],
    ["pull", "ORDERS.worker", "allow"],
    ["pull", "OTHER.worker", "deny"],
  ])("%s %s: %s", (verb, object, effect) => {
    expect(ask(verb, object).effect).toBe(effect);
  });

  test.each([
    ["pub", "a.b workers"],
    ["pull", "ORDERS.worker q"],
    ["sub", "a.b workers more"],
    ["sub", "a.b "],
  ])("%s %j is no question", (verb, object) => {
    expect(() => ask(verb, object)).toThrow(expect.objectContaining({ code: "invalid_request" }));
  });
});

test("a test's cause is no claim", () => {
  const identity = imagineIdentity("gitlab", "gitlab", { project: "acme/shop", caused_by: "deploy" });
  expect(identity.cause).toMatchObject({ event: "deploy", depth: 1 });
  expect(identity.attributes).not.toHaveProperty("caused_by");
});

test("imagined facts are fresh for ever", () => {
  expect(imagineFacts({ "change.merged": true }, 5)).toEqual({
    "change.merged": { value: true, observedAt: 5, staleAt: Number.MAX_SAFE_INTEGER },
  });
});
