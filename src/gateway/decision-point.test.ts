import { describe, expect, test } from "vitest";
import type { Decision } from "../core/decision.ts";
import { allow, deny, fakePolicy, good, point, question, target } from "./decision-point.fake.ts";
import type { TokenVerdict } from "./decision-point.ts";
import { createLimits } from "./limits.ts";

test("a warm token is answered at once, recorded, and never lets its Authorization travel on", () => {
  const { made, noted } = point();
  expect(made.answer(question)).toEqual({
    outcome: "allow",
    reason: "allowed",
    holder: { jti: "j", sessionId: "ses_a", narrowing: {}, expiresAt: 300_000 },
    record: "rec_1",
    decision: allow,
    rule: "read",
    subject: "spiffe://acme.example/ci/gitlab/1042",
    session: "ses_a",
    job: "acme/shop#7712",
    traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
    cacheSeconds: 2,
    consumesAuthorization: true,
    unauthenticated: false,
  });
  expect(noted[0]).toMatchObject({
    kind: "decision",
    session: "ses_a",
    data: { outcome: "allow", operation: "GET /v1/x" },
  });
});

describe("is refused", () => {
  test.each([
    { why: "no credential", more: { authorization: undefined }, options: {}, reason: "no_credential", status: 401 },
    {
      why: "another scheme",
      more: { authorization: "Basic eHg6eHg=" },
      options: { verdict: good },
      reason: "no_credential",
      status: 401,
    },
    {
      why: "somebody else's token",
      more: {},
      options: { verdict: { state: "foreign" } as const },
      reason: "credential_invalid",
      status: 401,
    },
    {
      why: "a forged token of ours",
      more: {},
      options: { verdict: { state: "ours" } as const },
      reason: "credential_invalid",
      status: 401,
    },
    {
      why: "an expired token",
      more: {},
      options: { verdict: { ...good, state: "expired" } as TokenVerdict },
      reason: "credential_expired",
      status: 401,
    },
    { why: "a revoked token", more: {}, options: { revoked: () => true }, reason: "credential_revoked", status: 401 },
    {
      why: "a session that is not here",
      more: {},
      options: { session: () => undefined },
      reason: "session_unknown",
      status: 401,
    },
    {
      why: "a bearer token where proof is required",
      more: {},
      options: { target: { proof: "required" as const } },
      reason: "proof_required",
      status: 401,
    },
    { why: "what policy denies", more: {}, options: { decision: deny }, reason: "no_role", status: 403 },
    {
      why: "an ended session",
      more: {},
      options: { decision: { ...deny, reason: "session_ended" } as Decision },
      reason: "session_ended",
      status: 401,
    },
    { why: "an unknown target", more: { target: "nope" }, options: {}, reason: "target_unknown", status: 403 },
    {
      why: "a request that reads two ways",
      more: { ambiguity: "two hosts" },
      options: {},
      reason: "ambiguous_request",
      status: 403,
    },
  ])("$why: $reason", async ({ more, options, reason, status }) => {
    const { made, noted } = point(options);
    const { authorization: _sent, ...rest } = question;
    const answer = await made.answer(
      "authorization" in more ? { ...rest, authorization: undefined, ...more } : { ...question, ...more },
    );
    expect(answer).toMatchObject({ outcome: "deny", reason, unauthenticated: status === 401, cacheSeconds: 0 });
    expect(noted).toHaveLength(1);
  });

  test.each([
    { why: "the record cannot be taken", options: { noteFails: true } },
    {
      why: "the policy throws",
      options: {
        policy: () => {
          throw new Error("broken");
        },
      },
    },
    {
      why: "token verification throws",
      options: {
        verdict: () => {
          throw new Error("broken");
        },
      },
    },
    { why: "token verification rejects", options: { token: () => Promise.reject(new Error("broken")) } },
    {
      why: "the durable record fails",
      options: {
        durableBeforeAnswer: true,
        recorder: { note: () => "r", settled: () => Promise.reject(new Error("io")) },
      },
    },
    {
      why: "the assertion cannot be signed",
      options: { target: { assertion: "required" as const }, mintAssertion: () => Promise.reject(new Error("key")) },
    },
  ])("as an outage when $why", async ({ options }) => {
    expect(await point(options).made.answer(question)).toMatchObject({ outcome: "deny", reason: "outage" });
  });
});

describe("observe and shared routes", () => {
  const observe = { mode: "observe" as const };
  test("an observed target lets through and records would_deny", async () => {
    const { made, noted } = point({ target: observe, decision: deny });
    expect(await made.answer(question)).toMatchObject({ outcome: "would_deny", reason: "no_role" });
    expect(noted[0]).toMatchObject({ data: { effect: "deny", outcome: "would_deny" } });
  });

  test("an observed target goes on during an outage", async () => {
    expect(await point({ target: observe, noteFails: true }).made.answer(question)).toMatchObject({
      outcome: "would_deny",
      reason: "outage",
    });
  });

  test("a shared route passes foreign credentials on, and keeps ours from travelling", async () => {
    const foreign = await point({ pass: true, verdict: { state: "foreign" } }).made.answer(question);
    expect(foreign).toMatchObject({ outcome: "pass", consumesAuthorization: false });
    const broken = await point({ pass: true, verdict: { state: "ours" } }).made.answer(question);
    expect(broken).toMatchObject({ outcome: "deny", reason: "credential_invalid", consumesAuthorization: true });
  });
});

test("an assertion is minted only for what is allowed where the target wants it, and is never cached", async () => {
  const wants = { assertion: "required" as const };
  expect(await point({ target: wants }).made.answer(question)).toMatchObject({ assertion: "signed", cacheSeconds: 0 });
  expect(await point({ target: wants, decision: deny }).made.answer(question)).not.toHaveProperty("assertion");
  expect(
    await point({ target: { ...wants, mode: "observe" }, decision: deny }).made.answer(question),
  ).not.toHaveProperty("assertion");
});

test("a well-formed traceparent is kept; anything else is replaced", async () => {
  const sent = `00-${"1".repeat(32)}-${"2".repeat(16)}-01`;
  expect(await point().made.answer({ ...question, traceparent: sent })).toMatchObject({ traceparent: sent });
  for (const bad of ["", "00-0", `00-${"0".repeat(32)}-${"2".repeat(16)}-01`, `${sent}\r\nX: y`]) {
    expect((await point().made.answer({ ...question, traceparent: bad })).traceparent).toContain("aaaa");
  }
});

describe("limits", () => {
  test("count within a sliding window and forget what is older", () => {
    let now = 0;
    const limits = createLimits({ monotonic: () => now });
    for (const at of [0, 400, 800]) {
      now = at;
      limits.count({ key: "k", windowMs: 1000, max: 3 });
    }
    expect(limits.used("k", 1000)).toBe(3);
    now = 1000;
    expect(limits.used("k", 1000)).toBe(2);
    expect(limits.used("other", 1000)).toBe(0);
    now = 5000;
    expect(limits.used("k", 1000)).toBe(0);
  });

  test("only an allowed request is counted", async () => {
    const counted: string[] = [];
    const limit = { key: "k", windowMs: 1000, max: 3 };
    const limits = { used: () => 0, count: () => counted.push("x") };
    await point({ limits, decision: { ...allow, limit } }).made.answer(question);
    await point({ limits, decision: { ...deny, limit } }).made.answer(question);
    expect(counted).toHaveLength(1);
  });
});

test("an allow carries an assertion where another gateway stands behind for the target", async () => {
  const { made } = point({ passesOn: (gateway, name) => gateway === "edge-1" && name === "billing" });
  expect(await made.answer(question)).toMatchObject({ outcome: "allow", assertion: "signed", cacheSeconds: 0 });
  const refused = point({ passesOn: () => true, decision: deny });
  expect(await refused.made.answer(question)).not.toHaveProperty("assertion");
});

test("a bad token on an enforced route of an observed target is refused, and on an observed one of an enforced target is not", async () => {
  const bad: TokenVerdict = { state: "ours" };
  const ask = (mode: "observe" | "enforce", route: "observe" | "enforce") =>
    point({
      verdict: bad,
      policy: () => ({
        ...fakePolicy,
        targets: new Map([["billing", { ...target, mode }]]),
        unidentified: () => ({ pass: false, mode: route }),
      }),
    }).made.answer(question);
  expect(await ask("observe", "enforce")).toMatchObject({ outcome: "deny", reason: "credential_invalid" });
  expect(await ask("enforce", "observe")).toMatchObject({ outcome: "would_deny" });
  expect(await ask("observe", "observe")).toMatchObject({ outcome: "would_deny" });
  expect(await ask("enforce", "enforce")).toMatchObject({ outcome: "deny" });
});
