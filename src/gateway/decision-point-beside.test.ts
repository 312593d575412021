import { describe, expect, test } from "vitest";
import type { Beside, Decision } from "../core/decision.ts";
import type { AuditEvent } from "../core/record.ts";
import type { SharedRoute } from "../policy/policy.ts";
import { allow, deny, fakePolicy, point, question, target } from "./decision-point.fake.ts";

const beside: Beside = { policy: "next", outcome: "deny", reason: "no_role" };

/** A point whose policy has a candidate beside it. */
function tried(decision: Decision, route: SharedRoute = { pass: false, mode: "enforce" }, job = target) {
  const noted: AuditEvent[] = [];
  const { made } = point({
    policy: () => ({ ...fakePolicy, decide: () => decision, unidentified: () => route, targetFor: () => job }),
    recorder: {
      note: (event) => `rec_${noted.push(event)}`,
      settled: async () => undefined,
    },
  });
  const data = () => {
    const [event] = noted;
    if (event?.kind !== "decision") throw new TypeError("one decision is noted");
    return event.data;
  };
  return { answer: made.answer, data };
}

describe("a candidate beside the active policy", () => {
  test("is in the record and not in the answer", async () => {
    const { answer, data } = tried({ ...allow, beside });
    expect(await answer(question)).toMatchObject({ outcome: "allow", rule: "read", cacheSeconds: 2 });
    expect(data()).toMatchObject({ outcome: "allow", policy: "p", beside });
    expect(data()).not.toHaveProperty("canary");
  });

  test("that decided is named: its version, and that it was a canary", async () => {
    const { answer, data } = tried({
      ...deny,
      policyVersion: "next",
      canary: true,
      beside: { ...beside, outcome: "allow" },
    });
    expect(await answer(question)).toMatchObject({ outcome: "deny" });
    expect(data()).toMatchObject({ policy: "next", canary: true, beside: { outcome: "allow" } });
  });

  test.each([
    { sent: undefined, route: { pass: true, mode: "enforce" }, other: { outcome: "pass", reason: "unidentified" } },
    {
      sent: undefined,
      route: { pass: false, mode: "observe" },
      other: { outcome: "would_deny", reason: "no_credential" },
    },
    { sent: undefined, route: { pass: false, mode: "enforce" }, other: undefined },
    {
      sent: "Basic x",
      route: { pass: false, mode: "observe" },
      other: { outcome: "would_deny", reason: "no_credential" },
    },
  ] as const)("says what it would do without an identity: $route is $other", async ({ sent, route, other }) => {
    const { answer, data } = tried(allow, { pass: false, mode: "enforce", beside: { policy: "next", ...route } });
    expect((await answer({ ...question, authorization: sent })).outcome).toBe("deny");
    expect(data().beside).toEqual(other && { policy: "next", ...other });
  });

  test("does not pass what the active policy lets through on a shared route by another name", async () => {
    const { answer, data } = tried(allow, {
      pass: true,
      mode: "enforce",
      beside: { policy: "next", pass: false, mode: "enforce" },
    });
    expect((await answer({ ...question, authorization: undefined })).outcome).toBe("pass");
    expect(data()).toMatchObject({ reason: "unidentified", beside: { outcome: "deny", reason: "no_credential" } });
  });

  test("asks for proof and assertion as the policy that decides for the job does", async () => {
    const proof = tried(allow, undefined, { ...target, proof: "required" });
    expect(await proof.answer(question)).toMatchObject({ outcome: "deny", reason: "proof_required" });
    const assertion = tried(allow, undefined, { ...target, assertion: "required" });
    expect(await assertion.answer(question)).toMatchObject({ outcome: "allow", assertion: "signed" });
  });
});

test("a record has what a replay needs: narrowing, stream, the missing fact, and that it was counted in front", async () => {
  const noted: AuditEvent[] = [];
  const { made } = point({
    policy: () => ({ ...fakePolicy, decide: () => ({ ...deny, reason: "fact_missing", missing: "change.merged" }) }),
    recorder: { note: (event) => `rec_${noted.push(event)}`, settled: async () => undefined },
    token: () => ({ state: "valid", token: { jti: "j", sessionId: "ses_a", narrowing: { roles: ["read"] } } }),
  });
  await made.answer({
    ...question,
    operation: { kind: "http", method: "GET", host: "billing.internal", path: "/v1/x", stream: true },
  });
  await made.answer({ ...question, assertion: "signed" });
  expect(noted[0]?.data).toMatchObject({ narrowed: ["read"], stream: true, missing: "change.merged" });
  expect(noted[0]?.data).not.toHaveProperty("counted");
  expect(noted[1]?.data).toMatchObject({ counted: true });
});
