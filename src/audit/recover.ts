import type { AuditRecord, RecordKind } from "../core/record.ts";
import type { Journal } from "./journal.ts";

/** What recovery needs of the index. */
export interface StateIndex {
  /** Number of the last record it holds; 0 for a new or rebuilt one. */
  readonly appliedSeq: number;
  /** State records that still matter at `nowMs`, up to a number, in order. */
  stateRecords(nowMs: number, uptoSeq: number): AsyncIterable<AuditRecord>;
}

const stateKindList = [
  "project.pinned",
  "session.opened",
  "session.renewed",
  "session.refreshed",
  "session.suspended",
  "session.resumed",
  "session.ended",
  "lease.held",
  "lease.released",
  "credential.revoked",
  "job.over",
  "key.created",
  "key.prepared",
  "key.activated",
  "key.retired",
  "key.revoked",
  "event.pending",
  "event.started",
  "event.refused",
  "event.dead",
  "event.retried",
  "operator.signed_in",
  "operator.signed_out",
  "operator.bootstrap_made",
  "operator.bootstrap_ended",
  "policy.loaded",
  "policy.candidate",
  "policy.candidate_withdrawn",
  "policy.canary",
  "policy.promoted",
  "policy.rolled_back",
] as const satisfies readonly RecordKind[];

/** Kinds that carry state: sessions, tombstones, revocations, pins, signing keys and the policy in force are folds over them. */
export const stateKinds: ReadonlySet<RecordKind> = new Set(stateKindList);

/**
 * Everything the state is made of, each record once and in order: what still matters from the index, as far as that has
 * come, then the rest from the journal. With the index missing that is the whole journal; nothing waits for a rebuild.
 *
 * @param now ms since the epoch. Records that no longer matter may be among them.
 */
export async function* recover(deps: {
  readonly journal: Pick<Journal, "replay">;
  readonly index: StateIndex;
  readonly now: number;
}): AsyncGenerator<AuditRecord> {
  const { journal, index, now } = deps;
  const applied = index.appliedSeq; // it goes on indexing meanwhile
  yield* index.stateRecords(now, applied);
  yield* journal.replay(applied + 1, stateKinds);
}
