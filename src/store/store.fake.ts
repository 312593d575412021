import type { JobIdentity } from "../core/identity.ts";
import { encodeNumber } from "../core/ids.ts";
import { type AuditEvent, type AuditRecord, recordJob } from "../core/record.ts";

const identity: JobIdentity = {
  issuer: "gitlab",
  issuerType: "gitlab",
  kind: "job",
  project: { id: "1042", path: "acme/shop" },
  pipelineId: "88123",
  job: { id: "7712" },
  fork: "no",
  attributes: {},
  variables: {},
};
const job = recordJob(identity);

const session = (letter: string) => `ses_${letter.repeat(16)}`;

/** The event as the record with this number, of the log `abcd`. */
export function recordOf(event: AuditEvent, seq: number, timeMs: number): AuditRecord {
  return { ...event, v: 1, id: `rec_abcd${encodeNumber(seq, 8)}`, seq, time: new Date(timeMs).toISOString() };
}

/** Times in ms since the epoch; sessions by a letter. */
export const stateEvent = {
  opened: (letter: string, hardEndAt: number, replayUntil: number): AuditEvent => ({
    kind: "session.opened",
    session: session(letter),
    job,
    data: {
      identity,
      hard_end_at: hardEndAt,
      replay_key: `key of ${letter}`,
      replay_until: replayUntil,
      refresh_hash: "hash",
      roles: [],
      policy: "41c0",
      token: "fingerprint",
    },
  }),
  renewed: (letter: string, hardEndAt: number, replayUntil: number): AuditEvent => ({
    kind: "session.renewed",
    session: session(letter),
    job,
    data: { hard_end_at: hardEndAt, replay_key: `key 2 of ${letter}`, replay_until: replayUntil },
  }),
  ended: (letter: string): AuditEvent => ({
    kind: "session.ended",
    session: session(letter),
    job,
    data: { reason: "client_end" },
  }),
  held: (letter: string): AuditEvent => ({
    kind: "lease.held",
    session: session(letter),
    job,
    data: { lease: "lease" },
  }),
  minted: (letter: string): AuditEvent => ({
    kind: "credential.minted",
    session: session(letter),
    job,
    data: {
      class: "access_token",
      jti: "jti",
      kid: "kid",
      audience: [],
      roles: [],
      narrowing: {},
      expires_at: 1,
      token: "fingerprint",
    },
  }),
  over: (until: number): AuditEvent => ({
    kind: "job.over",
    data: { issuer: "gitlab", project_id: "1042", job_id: "7712", status: "success", until },
  }),
  revoked: (letter: string, until: number): AuditEvent => ({
    kind: "credential.revoked",
    session: session(letter),
    job,
    data: { jti: "jti", until },
  }),
  pinned: { kind: "project.pinned", data: { issuer: "gitlab", path: "acme/shop", id: "1042" } } satisfies AuditEvent,
};

const decision = { operation: "GET /v1/health", policy: "41c0", reason: "allowed" } as const;

/** Eight events: of a session of job 7712, of job 7712 outside a session, of job 7713, and of nobody. */
export const entries: readonly AuditEvent[] = [
  { kind: "broker.started", data: { version: "0.1.0", policy: "41c0" } },
  stateEvent.opened("a", 1, 1),
  { kind: "exchange.refused", job, data: { code: "no_role", detail: "none" } },
  {
    kind: "decision",
    session: session("a"),
    job,
    data: { ...decision, gateway: "edge-1", target: "billing", effect: "allow", outcome: "allow" },
  },
  {
    kind: "decision",
    job: { ...job, job_id: "7713", project: "acme/books", project_id: "1" },
    data: { ...decision, gateway: "edge-2", target: "ledger", effect: "deny", outcome: "would_deny" },
  },
  { kind: "webhook.refused", data: { issuer: "gitlab", code: "webhook_refused", detail: "no secret" } },
  stateEvent.ended("a"),
  stateEvent.over(1),
];
