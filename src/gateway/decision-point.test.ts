import { describe, expect, test } from "vitest";
import type { Decision } from "../core/decision.ts";
import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { AuditEvent } from "../core/record.ts";
import type { SessionView } from "../core/session.ts";
import type { CompiledTarget, Policy } from "../policy/policy.ts";
import { createDecisionPoint, type DecisionPointDeps, type Question, type TokenVerdict } from "./decision-point.ts";
import { createLimits } from "./limits.ts";

const identity: JobIdentity = {
  issuer: "gitlab",
  issuerType: "gitlab",
  kind: "job",
  project: { id: "1042", path: "acme/shop" },
  pipelineId: "1",
  job: { id: "7712" },
  fork: "no",
  attributes: {},
  variables: {},
};
const view: SessionView = { id: "ses_a", identity, state: "active", openedAt: 0, hardEndAt: 1e15 };
const target: CompiledTarget = {
  name: "billing",
  kind: "http",
  mode: "enforce",
  hosts: ["billing.internal"],
  assertion: "off",
  proof: "off",
  encodedSlash: "refuse",
  onOutage: { keepSeconds: 0 },
  sharesRoutes: false,
  streams: false,
};
const allow: Decision = {
  effect: "allow",
  reason: "allowed",
  mode: "enforce",
  rule: "read",
  policyVersion: "p",
  facts: [],
  unconditional: true,
};
const deny: Decision = { ...allow, effect: "deny", reason: "no_role", unconditional: false };
const question: Question = {
  gateway: "edge-1",
  target: "billing",
  operation: { kind: "http", method: "GET", host: "billing.internal", path: "/v1/x", stream: false },
  authorization: "Bearer good",
};
const fakePolicy: Policy = {
  version: "p",
  pins: {},
  denyReason: () => undefined,
  targets: new Map([["billing", target]]),
  rolesFor: () => [],
  deniesFor: () => [],
  standings: () => [],
  factsFor: () => [],
  hostsFor: () => [],
  decide: () => allow,
  unidentified: () => ({ pass: false, mode: "enforce" }),
};
const good: TokenVerdict = { state: "valid", token: { jti: "j", sessionId: "ses_a", narrowing: {} } };

function point(
  options: {
    target?: Partial<CompiledTarget>;
    decision?: Decision;
    verdict?: TokenVerdict | Promise<TokenVerdict> | (() => never);
    pass?: boolean;
    noteFails?: boolean;
  } & Partial<DecisionPointDeps> = {},
) {
  const noted: AuditEvent[] = [];
  const compiled = { ...target, ...options.target };
  const policy: Policy = {
    ...fakePolicy,
    targets: new Map([["billing", compiled]]),
    decide: () => ({ ...(options.decision ?? allow), mode: compiled.mode }),
    unidentified: () => ({ pass: options.pass ?? false, mode: compiled.mode }),
  };
  const clock = { now: () => 1000, monotonic: () => 1000 };
  const { verdict = good } = options;
  const made = createDecisionPoint({
    clock,
    recorder: {
      note: (event) => {
        if (options.noteFails) throw new WayleaveError("journal_unavailable", "full");
        noted.push(event);
        return `rec_${noted.length}`;
      },
      settled: async () => undefined,
    },
    limits: createLimits(clock),
    durableBeforeAnswer: false,
    policy: () => policy,
    session: (id) => (id === "ses_a" ? { view, facts: {} } : undefined),
    revoked: () => false,
    assertion: async () => (typeof verdict === "function" ? verdict() : verdict),
    token: () => (typeof verdict === "function" ? verdict() : verdict),
    subject: () => "spiffe://acme.example/ci/gitlab/1042",
    passesOn: () => false,
    fingerprint: () => "fp_x",
    onFault: () => undefined,
    newTraceparent: () => `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
    mintAssertion: async () => "signed",
    ...options,
  });
  return { made, noted };
}

test("a warm token is answered at once, recorded, and never lets its Authorization travel on", () => {
  const { made, noted } = point();
  expect(made.answer(question)).toEqual({
    outcome: "allow",
    reason: "allowed",
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

describe("behind another gateway", () => {
  const behind: Question = { ...question, assertion: "signed" };
  const named: TokenVerdict = {
    state: "valid",
    token: {
      jti: "rec_0",
      sessionId: "ses_a",
      narrowing: { targets: ["billing"], roles: ["read"] },
      names: ({ target, operation }) => target === "billing" && operation.kind === "http" && operation.path === "/v1/x",
    },
  };

  test("the assertion is who calls, goes on unchanged, and Authorization is left alone", async () => {
    const { made } = point({ verdict: named, token: () => expect.unreachable("the access token was looked at") });
    expect(await made.answer(behind)).toMatchObject({
      outcome: "allow",
      session: "ses_a",
      assertion: "signed",
      consumesAuthorization: false,
      cacheSeconds: 0,
    });
  });

  test("policy is asked with the assertion's narrowing, and told that the request was counted", async () => {
    const asked: object[] = [];
    const { made } = point({ verdict: named });
    const watched = point({
      verdict: named,
      policy: () => ({
        ...fakePolicy,
        decide: (request) => {
          asked.push(request);
          return allow;
        },
      }),
    });
    await made.answer(behind);
    await watched.made.answer(behind);
    expect(asked).toMatchObject([
      { narrowing: { targets: ["billing"], roles: ["read"] }, counted: true, gateway: "edge-1" },
    ]);
  });

  test("a target that requires an assertion gets the one at hand, and a proof was seen in front", async () => {
    const { made } = point({
      verdict: named,
      target: { assertion: "required", proof: "required" },
      mintAssertion: () => expect.unreachable("a second assertion was made"),
    });
    expect(await made.answer(behind)).toMatchObject({ outcome: "allow", assertion: "signed" });
  });

  test.each([
    { why: "no assertion", more: { assertion: "" }, verdict: named, reason: "no_credential" },
    { why: "an unusable one", more: {}, verdict: { state: "ours" } as const, reason: "credential_invalid" },
    {
      why: "one for another path",
      more: { operation: { ...behind.operation, path: "/v1/y" } as Question["operation"] },
      verdict: named,
      reason: "credential_invalid",
    },
    {
      why: "one of a session that is not here",
      more: {},
      verdict: { ...named, token: { ...named.token, sessionId: "ses_b" } } as const,
      reason: "session_unknown",
    },
  ])("$why is refused, also beside a good access token", async ({ more, verdict, reason }) => {
    const { made } = point({ verdict });
    const answer = await made.answer({ ...behind, ...more });
    expect(answer).toMatchObject({ outcome: "deny", reason });
    expect(answer).not.toHaveProperty("assertion");
  });
});
