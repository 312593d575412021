import type { AuditRecord } from "../core/record.ts";

/** The columns a record is found by. */
export interface EntryRow {
  readonly seq: number;
  readonly time_ms: number;
  readonly kind: string;
  readonly session: string | null;
  readonly job_id: string | null;
  readonly project_id: string | null;
  readonly project: string | null;
  readonly target: string | null;
  readonly effect: string | null;
  readonly gateway: string | null;
}

export function entryRow(record: AuditRecord): EntryRow {
  const decision = record.kind === "decision" ? record.data : undefined;
  const { gateway, target } = placeOf(record);
  const over = record.kind === "job.over" ? record.data : undefined;
  const { job } = record;
  return {
    seq: record.seq,
    time_ms: Date.parse(record.time),
    kind: record.kind,
    session: record.session ?? null,
    job_id: job?.job_id ?? over?.job_id ?? null,
    project_id: job?.project_id ?? over?.project_id ?? null,
    project: job?.project ?? null,
    target: target ?? null,
    effect: decision?.effect ?? null,
    gateway: gateway ?? null,
  };
}

/** Where it happened: of decisions, requests, and everything about NATS. */
function placeOf({ kind, data }: AuditRecord): { readonly gateway?: string; readonly target?: string } {
  const has =
    kind === "decision" || kind === "policy.disagreed" || kind === "gateway.request" || kind.startsWith("nats.");
  return has ? (data as { readonly gateway?: string; readonly target?: string }) : {};
}

/** What a state record says about how long it, or its session, is needed. Times are ms since the epoch. */
export type StateRow =
  | { readonly of: "session"; readonly session: string; readonly mattersUntil: number; readonly ended: boolean }
  /** Needed by itself; null is for ever. */
  | { readonly of: "nobody"; readonly until: number | null };

/** An ended session stays known this long past its last moment, so that a late token hears why it is refused. */
export const keepMs = 30 * 60_000;

/** Undefined for records that carry no state. */
export function stateRow(record: AuditRecord): StateRow | undefined {
  switch (record.kind) {
    case "project.pinned":
    case "key.created":
    case "key.prepared":
    case "key.activated":
    case "key.retired":
    case "key.revoked":
    case "policy.candidate":
    case "policy.candidate_withdrawn":
    case "policy.canary":
    case "policy.promoted":
    case "policy.rolled_back":
      return { of: "nobody", until: null };
    case "policy.loaded":
      return record.data.replaces === undefined ? undefined : { of: "nobody", until: null };
    case "event.pending":
    case "event.started":
    case "event.refused":
    case "event.dead":
    case "event.retried":
      // A pipeline whose start was forgotten would be nobody's doing, and its jobs would have more rights.
      return { of: "nobody", until: null };
    case "operator.bootstrap_made":
    case "operator.bootstrap_ended":
      // A bootstrap token that was forgotten could be made again.
      return { of: "nobody", until: null };
    case "operator.signed_out":
      return { of: "nobody", until: record.data.until };
    case "operator.signed_in":
      return { of: "nobody", until: Math.max(record.data.expires_at, record.data.replay_until ?? 0) };
    case "job.over":
    case "credential.revoked":
      return { of: "nobody", until: record.data.until };
    case "session.opened":
    case "session.renewed": {
      const { hard_end_at, replay_until } = record.data;
      return ofSession(record, Math.max(hard_end_at, replay_until) + keepMs, false);
    }
    case "session.ended":
      return ofSession(record, 0, true);
    case "session.refreshed":
    case "session.suspended":
    case "session.resumed":
    case "lease.held":
    case "lease.released":
      return ofSession(record, 0, false);
    default:
      return undefined;
  }
}

function ofSession({ session }: AuditRecord, mattersUntil: number, ended: boolean): StateRow | undefined {
  return session === undefined ? undefined : { of: "session", session, mattersUntil, ended };
}
