import { describe, expect, test } from "vitest";
import { noCounts } from "../core/decision.ts";
import { compile } from "./compile.ts";
import type { PolicyModel } from "./model.ts";
import { deny, facts, job, openedAt, place, policyModel, role, selector, session, target } from "./policy.fake.ts";
import { http } from "./shop-policy.fake.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const build = (parts: Partial<PolicyModel>) => compile(policyModel(parts), fakeVocabulary);

describe("the roles of a job", () => {
  const policy = build({
    targets: [target("billing"), target("db", "secret")],
    roles: [
      role("z", { db: ["read"], billing: ["GET /"] }, { ttlSeconds: 600, when: "change.merged", until: "pipeline" }),
      role("a", { billing: ["GET /"] }),
      role("fork", { billing: ["GET /"] }, { for: [selector({ project: "acme/shop" }, { fork: true })] }),
      role("other", { billing: ["GET /"] }, { for: [selector({ project: "acme/other" })] }),
    ],
  });

  test("come in id order, conditions or not", () => {
    expect(policy.rolesFor(job())).toEqual([
      { id: "a", targets: ["billing"], until: "job" },
      { id: "fork", targets: ["billing"], until: "job" },
      { id: "z", targets: ["billing", "db"], ttlSeconds: 600, until: "pipeline" },
    ]);
  });

  test("of a fork's job are those that say so", () => {
    expect(policy.rolesFor(job({ fork: "yes" })).map(({ id }) => id)).toEqual(["fork"]);
  });

  test("are none where nothing matches", () => {
    expect(policy.rolesFor(job({ attributes: {} }))).toEqual([]);
  });
});

test("the denies of a job are those whose selector matches; one of agents names the roles it bears on", () => {
  const policy = build({
    roles: [
      role("plain", { billing: ["GET /"] }),
      role("bot", { billing: ["GET /"] }, { for: [{ ...selector({ project: "acme/shop" }), kind: "agent" }] }),
    ],
    deny: [
      deny("z"),
      deny("db-only", { targets: ["db"] }),
      deny("part", { operations: { billing: ["GET /secret"] } }),
      deny("agents", { for: [{ ...selector({ project: "acme/shop" }), kind: "agent" }] }),
      deny("other", { for: [selector({ project: "acme/other" })] }),
    ],
  });
  expect(policy.deniesFor(job(), ["billing"])).toEqual(["agents/bot", "part", "z"]);
  expect(policy.deniesFor(job({ kind: "agent" }), ["billing"])).toEqual(["agents", "part", "z"]);
  expect(policy.deniesFor(job(), ["db"])).toEqual(["agents/bot", "db-only", "z"]);
  expect(policy.deniesFor(job(), [])).toEqual([]);
});

test("the facts of a job are those its roles and denies read", () => {
  const policy = build({
    roles: [
      role("a", { billing: ["GET /"] }, { when: "change.merged && environment.protected" }),
      role("other", { billing: ["GET /"] }, { when: "approval.given", for: [selector({ project: "acme/other" })] }),
    ],
    deny: [deny("d", { when: "change.draft" })],
  });
  expect(policy.factsFor(job())).toEqual(["change.draft", "change.merged", "environment.protected"]);
  expect(build({ roles: [role("a", { billing: ["GET /"] })] }).factsFor(job())).toEqual([]);
});

describe("a request without an identity", () => {
  const policy = build({
    targets: [
      target("shared", "http", {
        unidentified: ["GET /healthz", "GET /assets/**", "GET /${job.id}"],
        observe: ["GET /old"],
      }),
      target("closed"),
      target("soft", "http", { mode: "observe" }),
    ],
  });
  test.each([
    ["shared", "GET", "/healthz", true, "enforce"],
    ["shared", "GET", "/assets/x/y", true, "enforce"],
    ["shared", "HEAD", "/healthz", false, "enforce"],
    ["shared", "POST", "/healthz", false, "enforce"],
    ["shared", "GET", "/healthz/", false, "enforce"],
    ["shared", "GET", "/assets/../admin", false, "enforce"],
    ["shared", "GET", "/healthz?x", false, "enforce"],
    ["shared", "GET", "/${job.id}", false, "enforce"],
    ["shared", "GET", "/0", false, "enforce"],
    ["shared", "GET", "/old", false, "observe"],
    ["closed", "GET", "/healthz", false, "enforce"],
    ["soft", "GET", "/x", false, "observe"],
    ["nope", "GET", "/healthz", false, "enforce"],
  ] as const)("at %s: %s %s passes: %s, %s", (name, method, path, pass, mode) => {
    expect(policy.unidentified(name, method, path)).toEqual({ pass, mode });
  });
});

test("hosts are filled for a job, and those that cannot be are left out", () => {
  const policy = build({
    targets: [target("review", "http", { hosts: ["review.internal", "${environment.slug}.review.internal"] })],
  });
  expect(policy.hostsFor("review", job())).toEqual(["review.internal", "production.review.internal"]);
  expect(policy.hostsFor("review", job({ variables: { "environment.slug": "a.b" } }))).toEqual(["review.internal"]);
  expect(policy.hostsFor("nope", job())).toEqual([]);
});

test("a target says whether it shares routes and has streams", () => {
  const policy = build({
    targets: [target("billing"), target("chat", "http", { unidentified: ["GET /"], proof: "required" })],
    roles: [role("r", { chat: ["GET /ws stream"], billing: ["GET /"] })],
  });
  expect(policy.targets.get("billing")).toMatchObject({ sharesRoutes: false, streams: false, proof: "off" });
  expect(policy.targets.get("chat")).toMatchObject({ sharesRoutes: true, streams: true, proof: "required" });
});

test("a deny is explained by its reason and place", () => {
  const policy = build({ deny: [deny("d", { because: "agents get results", place: place(9) })] });
  expect(policy.denyReason("d")).toEqual({ because: "agents get results", file: "policy.yaml", line: 9 });
  expect(policy.denyReason("constructor")).toBeUndefined();
});

test("a decision cannot be changed by whoever gets it", () => {
  const policy = build({ roles: [role("r", { billing: ["GET /"] })] });
  const ask = (path: string) =>
    policy.decide(
      {
        session: session(),
        narrowing: {},
        target: "billing",
        operation: http(`GET ${path}`),
        facts: {},
        now: openedAt,
      },
      noCounts,
    );
  for (const path of ["/", "/nope", "//"]) {
    expect(() => Object.assign(ask(path), { effect: "allow", mode: "observe" })).toThrow(TypeError);
  }
});

test("facts that change change the decision, for the same session", () => {
  const policy = build({ roles: [role("r", { billing: ["GET /"] }, { when: "change.merged" })] });
  const who = session();
  const ask = (merged: boolean, now = openedAt) =>
    policy.decide(
      {
        ...{ session: who, narrowing: {}, target: "billing", operation: http("GET /") },
        facts: facts({ "change.merged": merged }),
        now,
      },
      noCounts,
    ).reason;
  expect([ask(false), ask(true), ask(false), ask(true, openedAt + 60_000), ask(true)]).toEqual([
    ...["condition_failed", "allowed", "condition_failed", "fact_missing", "allowed"],
  ]);
});
