import fc from "fast-check";
import { reasonCodes } from "../core/decision.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { AuditEvent } from "../core/record.ts";
import { endReasons } from "../core/session.ts";
import { anyNatsEvent } from "./nats-record.fake.ts";

/** Any string at all, lone surrogates and controls included. */
export const anyText: fc.Arbitrary<string> = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
);

const aFewSessions = fc.constantFrom(...["a", "b", "c", "d"].map((letter) => `ses_${letter.repeat(16)}`));
const instant = fc.integer({ min: 0, max: 200_000_000 });
const factValue = fc.oneof(anyText, fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean());

const job = fc.record(
  {
    issuer: anyText,
    project_id: anyText,
    project: fc.constantFrom("acme/shop", "acme/billing"),
    pipeline_id: anyText,
    job_id: fc.constantFrom("7712", "7713"),
    job_name: anyText,
    ref: anyText,
  },
  { requiredKeys: ["issuer", "project_id", "project", "pipeline_id", "job_id"] },
);

const decisionData = fc.record(
  {
    gateway: fc.constantFrom("edge-1", "edge-2"),
    target: fc.constantFrom("billing", "ledger"),
    operation: anyText,
    host: anyText,
    effect: fc.constantFrom("allow" as const, "deny" as const),
    outcome: fc.constantFrom("allow" as const, "deny" as const, "would_deny" as const, "pass" as const),
    reason: fc.constantFrom(...(Object.keys(reasonCodes) as (keyof typeof reasonCodes)[])),
    rule: anyText,
    policy: anyText,
    facts: fc.array(fc.record({ value: factValue, name: anyText, ageMs: fc.nat() }), { maxLength: 3 }),
    closest: fc.record(
      { role: anyText, line: fc.nat(), file: anyText, met: fc.nat(), of: fc.nat(), failed: anyText, found: anyText },
      { requiredKeys: ["role", "line", "file", "met", "of", "failed"] },
    ),
    token: anyText,
    detail: anyText,
  },
  { requiredKeys: ["gateway", "target", "operation", "effect", "outcome", "reason", "policy"] },
);

const trace = fc.constantFrom("4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c");

/** Any decision, with members in an order nobody should rely on. */
export const anyDecision: fc.Arbitrary<AuditEvent> = fc.record(
  { trace, data: decisionData, kind: fc.constant("decision" as const), job, session: aFewSessions },
  { requiredKeys: ["data", "kind"] },
);

/** A session's identity, complete. */
export const identity: JobIdentity = {
  issuer: "gitlab",
  issuerType: "gitlab",
  kind: "job",
  project: { id: "1042", path: "acme/shop" },
  pipelineId: "88123",
  job: { id: "7712", name: "release" },
  ref: "feature/x",
  refType: "branch",
  sha: "41c0aa",
  environment: "staging",
  triggeredBy: { id: "5", login: "ada" },
  runner: { id: "9", environment: "self-hosted" },
  fork: "no",
  attributes: { project: ["acme/shop"], ref_protected: true },
  variables: { "job.project_id": "1042" },
};

const opened = fc.record(
  {
    identity: fc.constant(identity),
    hard_end_at: instant,
    replay_key: anyText,
    replay_until: instant,
    refresh_hash: anyText,
    roles: fc.array(anyText, { maxLength: 2 }),
    policy: anyText,
    token: anyText,
    from: anyText,
  },
  {
    requiredKeys: ["identity", "hard_end_at", "replay_key", "replay_until", "refresh_hash", "roles", "policy", "token"],
  },
);

function ofSession<Kind extends AuditEvent["kind"], Data>(kind: Kind, data: fc.Arbitrary<Data>) {
  return fc.record({ kind: fc.constant(kind), data, session: aFewSessions, job });
}

/** Events of many kinds, about four sessions, at times within 200,000 s of the epoch. */
export const anyEvent: fc.Arbitrary<AuditEvent> = fc.oneof(
  { arbitrary: anyDecision, weight: 4 },
  { arbitrary: anyNatsEvent, weight: 2 },
  ofSession("session.opened", opened),
  ofSession("session.renewed", fc.record({ hard_end_at: instant, replay_key: anyText, replay_until: instant })),
  ofSession("session.refreshed", fc.record({ generation: fc.nat(), refresh_hash: anyText })),
  ofSession("session.suspended", fc.constant({ reason: "lease_missed" as const })),
  ofSession("session.ended", fc.record({ reason: fc.constantFrom(...endReasons), detail: anyText })),
  ofSession("lease.held", fc.record({ lease: anyText })),
  ofSession("credential.revoked", fc.record({ jti: anyText, until: instant })),
  fc.record({
    kind: fc.constant("job.over" as const),
    data: fc.record({ issuer: anyText, project_id: anyText, job_id: anyText, status: anyText, until: instant }),
  }),
  fc.record({
    kind: fc.constant("project.pinned" as const),
    data: fc.record({ issuer: anyText, path: anyText, id: anyText }),
  }),
  fc.record({
    kind: fc.constant("exchange.refused" as const),
    data: fc.record({ code: anyText, detail: anyText }),
  }),
);
