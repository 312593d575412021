import { describe, expect, test } from "vitest";
import { facts, job, place, policyModel, role, selector, session, target } from "./policy.fake.ts";
import { decide, http } from "./shop-policy.fake.ts";

const closest = (
  roles: readonly ReturnType<typeof role>[],
  text: string,
  values: Parameters<typeof facts>[0] = {},
  identity = job(),
) => {
  const policy = policyModel({ roles, targets: [target("billing"), target("other")] });
  return decide({ operation: http(text), policy, parts: { facts: facts(values), session: session(identity) } }).closest;
};

describe("the closest role", () => {
  test("is told with its place, its parts and the first that fails, with the value found", () => {
    const when = 'job.ref == "main" && change.merged && change.approvals >= 2';
    const roles = [role("release", { billing: ["POST /r"] }, { when, place: place(24) })];
    expect(closest(roles, "POST /r", { "change.merged": true, "change.approvals": 1 })).toEqual({
      role: "release",
      file: "policy.yaml",
      line: 24,
      met: 3,
      of: 4,
      failed: "change.approvals >= 2",
      found: "1",
    });
  });

  test("is the one with the fewest parts that fail", () => {
    const roles = [
      role("a-two", { billing: ["POST /r"] }, { when: 'change.merged && job.ref == "x"' }),
      role("b-one", { billing: ["POST /r"] }, { when: 'change.merged && job.ref == "main"' }),
    ];
    expect(closest(roles, "POST /r", { "change.merged": false })).toMatchObject({ role: "b-one", met: 2, of: 3 });
  });

  test("is one that failed for the reason that is given", () => {
    const roles = [
      role("a-false", { billing: ["POST /r"] }, { when: "change.draft" }),
      role("b-missing", { billing: ["POST /r"] }, { when: "change.draft && change.state == 'x' || change.merged" }),
    ];
    const found = closest(roles, "POST /r", { "change.draft": false });
    expect(found?.role).toBe("b-missing");
  });

  test("is one whose operation matches before one that fails at fewer parts", () => {
    const roles = [
      role("read", { billing: ["GET /r"] }),
      role("release", { billing: ["POST /r"] }, { when: "change.merged && change.approvals >= 1" }),
    ];
    expect(closest(roles, "POST /r", { "change.merged": false, "change.approvals": 0 })?.role).toBe("release");
  });

  test("is one of others of the project that would allow it, at the clause that keeps this job out", () => {
    const roles = [
      role("read", { billing: ["GET /r"] }),
      role(
        "deploy",
        { billing: ["POST /r"] },
        { for: [selector({ project: "acme/shop", environment: "production" })] },
      ),
    ];
    const attributes = { project: ["acme/shop"], environment: "staging" };
    expect(closest(roles, "POST /r", {}, job({ attributes }))).toMatchObject({
      role: "deploy",
      met: 2,
      of: 3,
      failed: "environment: production",
      found: "staging",
    });
  });

  test("is one of others that says fork: true, where nothing else is wrong", () => {
    const roles = [role("read", { billing: ["GET /r"] })];
    expect(closest(roles, "GET /r", {}, job({ fork: "unknown" }))).toMatchObject({
      failed: "fork: true",
      found: "fork unknown",
    });
  });

  test("is no role of another project, whatever it allows", () => {
    const roles = [role("theirs", { billing: ["POST /r"] }, { for: [selector({ project: "secret/project" })] })];
    expect(closest(roles, "POST /r")).toBeUndefined();
  });

  test("is no role that does not name the target", () => {
    expect(closest([role("elsewhere", { other: ["GET /r"] })], "GET /r")).toBeUndefined();
  });

  test.each([
    ["operation", { billing: ["GET /other"] }, {}],
    ["limit", { billing: ["GET /r"] }, { limit: { max: 0, windowMs: 1000, per: "role", scope: "global" } as const }],
    ["${job.nope}", { billing: ["GET /${job.nope}"] }, {}],
    ["change.merged", { billing: ["GET /r"] }, { when: "change.merged" }],
  ])("fails at %s", (failed, allow, parts) => {
    expect(closest([role("r", allow, parts)], "GET /r")?.failed).toBe(failed);
  });

  test("fails at stream", () => {
    const policy = policyModel({ roles: [role("r", { billing: ["GET /r"] })] });
    expect(decide({ operation: http("GET /r", undefined, true), policy }).closest?.failed).toBe("stream");
  });

  test("fails at narrowing", () => {
    const policy = policyModel({ roles: [role("r", { billing: ["GET /r"] })] });
    const decision = decide({ operation: http("GET /r"), policy, parts: { narrowing: { roles: [] } } });
    expect(decision).toMatchObject({ reason: "outside_narrowing", closest: { role: "r", failed: "narrowing" } });
  });

  test("is left out where a deny decided", () => {
    expect(decide({ operation: http("GET /v1/invoices/legal") }).closest).toBeUndefined();
  });
});
