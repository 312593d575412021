import { describe, expect, test } from "vitest";
import type { PolicyModel } from "./model.ts";
import { deny, facts, job, openedAt, policyModel, role, selector, session, target } from "./policy.fake.ts";
import { decide, http, type Question } from "./shop-policy.fake.ts";

const ended = (state: "active" | "suspended" | "ended", hardEndAt = openedAt + 3_600_000) => ({
  session: session(job(), { state, hardEndAt }),
});

describe("observe", () => {
  const at = (name: string, text: string) => ({ target: name, operation: http(text, `${name}.internal`) });
  test.each<[string, Question, "enforce" | "observe"]>([
    ["a target", at("soft", "GET /x"), "observe"],
    ["a target's ended session", { ...at("soft", "GET /x"), parts: ended("ended") }, "observe"],
    ["a target's enforced route", at("soft", "GET /admin/x"), "enforce"],
    ["a route", at("partly", "GET /old/x"), "observe"],
    ["another method of a route", at("partly", "POST /old/x"), "enforce"],
    ["another route", at("partly", "GET /x"), "enforce"],
    ["an ambiguous path of a route", at("partly", "GET /old/../x"), "enforce"],
    ["an unknown target", at("nope", "GET /"), "enforce"],
    [
      "a role's own condition",
      { operation: http("POST /v1/trial"), parts: { facts: facts({ "change.merged": false }) } },
      "observe",
    ],
    ["a role's missing fact", { operation: http("POST /v1/trial") }, "observe"],
    [
      "a role outside the narrowing",
      { operation: http("POST /v1/trial"), parts: { narrowing: { roles: [] } } },
      "enforce",
    ],
    ["another role's condition", { operation: http("POST /v1/releases") }, "enforce"],
  ])("%s: %o is denied", (_, given, mode) => {
    expect(decide(given)).toMatchObject({ effect: "deny", mode });
  });

  test("a deny is never softened by a role in observe mode", () => {
    const policy = policyModel({
      roles: [role("trial", { billing: ["GET /"] }, { when: "change.merged", mode: "observe" })],
      deny: [deny("all")],
    });
    expect(decide({ operation: http("GET /"), policy })).toMatchObject({ reason: "denied", mode: "enforce" });
  });
});

describe("an agent", () => {
  const agent = selector({ project: "acme/shop" }, { kind: "agent" });
  const agents = (...roles: PolicyModel["roles"]) =>
    policyModel({ roles, deny: [deny("no-agents", { for: [selector({}, { anyIssuer: true, kind: "agent" })] })] });

  test("is who uses a role by a selector that says so, and is denied what agents are", () => {
    const policy = agents(role("bot", { billing: ["GET /"] }, { for: [agent] }));
    expect(decide({ operation: http("GET /"), policy })).toMatchObject({ reason: "denied", rule: "no-agents" });
  });

  test("is whom the token says, whatever the selectors", () => {
    const policy = agents(role("job", { billing: ["GET /"] }));
    const parts = { session: session(job({ kind: "agent" })) };
    expect(decide({ operation: http("GET /"), policy, parts })).toMatchObject({ effect: "deny", reason: "denied" });
  });

  test("is not a job that uses a role of jobs", () => {
    const policy = agents(role("job", { billing: ["GET /"] }), role("bot", { billing: ["GET /"] }, { for: [agent] }));
    expect(decide({ operation: http("GET /"), policy })).toMatchObject({ effect: "allow", rule: "job" });
  });

  test("is an agent in conditions too", () => {
    const roles = [role("bot", { billing: ["GET /"] }, { for: [agent], when: 'job.kind == "agent"' })];
    expect(decide({ operation: http("GET /"), policy: policyModel({ roles }) }).effect).toBe("allow");
  });
});

describe("unconditional", () => {
  const plain = role("plain", { billing: ["GET /"] });
  test.each<[boolean, string, Partial<PolicyModel>]>([
    [true, "nothing but roles", { roles: [plain] }],
    [
      true,
      "a deny without a condition",
      { roles: [plain], deny: [deny("d", { operations: { billing: ["POST /"] } })] },
    ],
    [
      true,
      "a condition elsewhere",
      {
        targets: [target("billing"), target("other")],
        roles: [plain, role("c", { other: ["GET /"] }, { when: "change.merged" })],
      },
    ],
    [
      true,
      "another project's condition",
      {
        roles: [
          plain,
          role("c", { billing: ["GET /"] }, { when: "change.merged", for: [selector({ project: "x/y" })] }),
        ],
      },
    ],
    [false, "a condition", { roles: [plain, role("c", { billing: ["POST /"] }, { when: "change.merged" })] }],
    [
      false,
      "a limit",
      {
        roles: [
          plain,
          role("c", { billing: ["POST /"] }, { limit: { max: 1, windowMs: 1, per: "role", scope: "global" } }),
        ],
      },
    ],
    [
      false,
      "a deny with a condition",
      { roles: [plain], deny: [deny("d", { operations: { billing: ["POST /"] }, when: "change.draft" })] },
    ],
  ])("%s: %s", (unconditional, _, parts) => {
    const decision = decide({ operation: http("GET /"), policy: policyModel(parts) });
    expect(decision).toMatchObject({ effect: "allow", unconditional });
  });

  test.each([ended("ended"), { narrowing: { targets: [] } }, { narrowing: { roles: [] } }])(
    "never what the session or the token decided: %j",
    (parts) => {
      expect(decide({ operation: http("GET /v1/other"), parts, policy: policyModel({}) }).unconditional).toBe(false);
    },
  );
});
