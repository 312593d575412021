import { noFacts } from "../core/fact.ts";
import type { AuditRecord } from "../core/record.ts";
import type { KnownSession } from "./ports.ts";

/**
 * A session that the broker holds no more, from its own records (in any order): a message may lie in a stream for longer than
 * an ended session is remembered. Its facts are gone, so that conditions which need one do not hold. Undefined without the
 * record that opened it.
 */
export function sessionFromRecords(id: string, records: readonly AuditRecord[]): KnownSession | undefined {
  const own = records.filter((record) => record.session === id);
  const opened = own.find((record) => record.kind === "session.opened");
  if (opened === undefined) return undefined;
  const ended = own.find((record) => record.kind === "session.ended");
  const ends = own.flatMap((record) => (record.kind === "session.renewed" ? [record.data.hard_end_at] : []));
  const { identity, hard_end_at } = opened.data;
  const base = { id, identity, openedAt: Date.parse(opened.time), hardEndAt: Math.max(hard_end_at, ...ends) };
  if (ended === undefined) return { view: { ...base, state: "ended", endReason: "hard_end" }, facts: noFacts };
  const end = { endReason: ended.data.reason, endedAt: Date.parse(ended.time) };
  return { view: { ...base, state: "ended", ...end }, facts: noFacts };
}
