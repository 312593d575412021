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
export const target: CompiledTarget = {
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
export const allow: Decision = {
  effect: "allow",
  reason: "allowed",
  mode: "enforce",
  rule: "read",
  policyVersion: "p",
  facts: [],
  unconditional: true,
};
export const deny: Decision = { ...allow, effect: "deny", reason: "no_role", unconditional: false };
export const question: Question = {
  gateway: "edge-1",
  target: "billing",
  operation: { kind: "http", method: "GET", host: "billing.internal", path: "/v1/x", stream: false },
  authorization: "Bearer good",
};
/** The NATS part of a policy that has none. */
const withoutNats = {
  natsAccount: () => undefined,
  natsRights: noNats,
  natsRightsNow: noNats,
  events: [],
} satisfies Partial<Policy>;

function noNats(): never {
  throw new TypeError("nobody asks about NATS here");
}

export const fakePolicy: Policy = {
  version: "p",
  inForce: "p",
  versionFor: () => "p",
  targetFor: (name) => (name === "billing" ? target : undefined),
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
  ...withoutNats,
};
export const good: TokenVerdict = {
  state: "valid",
  token: { jti: "j", sessionId: "ses_a", narrowing: {}, expiresAt: 300_000 },
};

export function point(
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
    targetFor: () => compiled,
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
    prove: async () => "proof_invalid",
    subject: () => "spiffe://acme.example/ci/gitlab/1042",
    passesOn: () => false,
    fingerprint: () => "fp_x",
    onFault: () => undefined,
    keepMs: () => 0,
    newTraceparent: () => `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
    mintAssertion: async () => "signed",
    ...options,
  });
  return { made, noted };
}
