import type { AuditEvent, AuditRecord, RecordKind } from "../core/record.ts";

/** Records that become durable together or not at all, and whoever waits for them. */
export interface FeedUnit {
  readonly records: readonly AuditRecord[];
  /** Their canonical JSON, in the same order. */
  readonly lines: readonly string[];
  readonly bytes: number;
  readonly waiters: Pick<PromiseWithResolvers<readonly AuditRecord[]>, "resolve" | "reject">[];
  /** Whoever waited was told that nobody knows: when it turns out to be durable after all, that is told to everybody. */
  abandoned: boolean;
}

/** What ends or narrows acted before it was recorded: it is recorded later rather than not at all. */
const closingKinds: ReadonlySet<RecordKind> = new Set([
  "session.ended",
  "session.suspended",
  "job.over",
  "credential.revoked",
  "key.revoked",
]);

export function isClosing(events: readonly Pick<AuditEvent, "kind">[]): boolean {
  return events.every(({ kind }) => closingKinds.has(kind));
}

export function feedUnit(records: readonly AuditRecord[], lines: readonly string[]): FeedUnit {
  const bytes = lines.reduce((sum, line) => sum + line.length, 0);
  return { records, lines, bytes, waiters: [], abandoned: false };
}
