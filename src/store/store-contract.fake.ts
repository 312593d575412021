import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { anyEvent } from "../audit/record.fake.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { keepMs } from "./index-row.ts";
import type { IndexedRecord, KeptText, RecordFilter, RecordStore } from "./ports.ts";
import { entries, recordOf, stateEvent } from "./store.fake.ts";

/** A store and what puts records of the log `abcd` into it: all or nothing. */
export interface OpenStore {
  readonly store: RecordStore;
  write(records: readonly IndexedRecord[]): Promise<void>;
}

const start = Date.parse("2026-11-24T09:30:00.000Z");

const kept = (record: AuditRecord): IndexedRecord => ({ record, json: JSON.stringify(record) });

const seqs = (found: readonly KeptText[]) => found.map(({ json }) => (JSON.parse(json) as AuditRecord).seq);

/** A token is used once: made-up events do not know that of each other. */
function apart(event: AuditEvent, seq: number): AuditEvent {
  if (event.kind === "session.opened") return { ...event, data: { ...event.data, replay_key: `key ${seq}` } };
  if (event.kind === "session.renewed") return { ...event, data: { ...event.data, replay_key: `key ${seq}` } };
  return event;
}

/** What every store does, whatever it is made of. Declares tests; call it inside a `describe`. */
export function storeContract(open: () => Promise<OpenStore>): void {
  async function opened(records: readonly AuditRecord[] = []): Promise<OpenStore> {
    const fresh = await open();
    onTestFinished(() => fresh.store.close());
    await fresh.store.migrate();
    if (records.length > 0) await fresh.write(records.map(kept));
    return fresh;
  }

  async function stateSeqs(events: readonly AuditEvent[], nowMs: number, more = {}) {
    const { store } = await opened(events.map((event, index) => recordOf(event, index + 1, start)));
    return seqs(await store.stateRecords({ nowMs, afterSeq: 0, uptoSeq: 1000, limit: 1000, ...more }));
  }

  test("is empty at first, and may be migrated again", async () => {
    const { store } = await opened();
    await store.migrate();
    expect(await store.query({ limit: 10 })).toEqual([]);
    expect(await store.get("rec_abcd00000001")).toBeUndefined();
  });

  test("gives back the very text", async () => {
    const { store, write } = await opened();
    const record = recordOf(entries[0]!, 1, start);
    const json = `${JSON.stringify(record)} `;
    await write([{ record, json }]);
    expect(await store.get(record.id)).toEqual({ json });
    expect(await store.query({ limit: 10 })).toEqual([{ json }]);
  });

  test("takes all of a batch or nothing", async () => {
    const { store, write } = await opened([recordOf(entries[0]!, 1, start)]);
    const twice = [2, 3, 3].map((seq) => kept(recordOf(entries[0]!, seq, start)));
    await expect(write(twice)).rejects.toThrow();
    expect(seqs(await store.query({ limit: 10 }))).toEqual([1]);
    await write(twice.slice(0, 2)); // and goes on
    expect(seqs(await store.query({ limit: 10 }))).toEqual([3, 2, 1]);
  });

  test("keeps every kind of record, whatever stands in it, to the byte", async () => {
    const events = fc.array(anyEvent, { minLength: 1, maxLength: 20 });
    const { store, write } = await opened();
    let seq = 0;
    await fc.assert(
      fc.asyncProperty(events, async (some) => {
        const records = some.map((event) => kept(recordOf(apart(event, seq), ++seq, start)));
        await write(records);
        for (const { record, json } of records) expect(await store.get(record.id)).toEqual({ json });
      }),
      { numRuns: 15 },
    );
  });

  describe("finds, newest first,", () => {
    test.each<{ what: string; filter: Partial<RecordFilter>; found: readonly number[] }>([
      { what: "everything", filter: {}, found: [8, 7, 6, 5, 4, 3, 2, 1] },
      { what: "as many as asked for", filter: { limit: 3 }, found: [8, 7, 6] },
      { what: "the next page", filter: { limit: 2, before: "rec_abcd00000006" }, found: [5, 4] },
      { what: "a session's", filter: { session: "ses_aaaaaaaaaaaaaaaa" }, found: [7, 4, 2] },
      { what: "a job's, in a session or not", filter: { job: "7712" }, found: [8, 7, 4, 3, 2] },
      { what: "another job's", filter: { job: "7713" }, found: [5] },
      { what: "no job's", filter: { job: "77" }, found: [] },
      { what: "a project's, by path", filter: { project: "acme/shop" }, found: [7, 4, 3, 2] },
      { what: "a project's, by id", filter: { project: "1042" }, found: [8, 7, 4, 3, 2] },
      { what: "no project's, by part of a path", filter: { project: "acme" }, found: [] },
      { what: "a target's", filter: { target: "ledger" }, found: [5] },
      { what: "a kind's", filter: { kind: "decision" }, found: [5, 4] },
      { what: "a gateway's", filter: { gateway: "edge-1" }, found: [4] },
      { what: "denials", filter: { effect: "deny" }, found: [5] },
      { what: "nothing that fails one of two filters", filter: { effect: "deny", gateway: "edge-1" }, found: [] },
      { what: "those from a time on", filter: { sinceMs: start + 7000 }, found: [8, 7] },
      { what: "those before a time", filter: { untilMs: start + 3000 }, found: [2, 1] },
      { what: "nothing before an id that is none", filter: { before: "rec_nonsense" }, found: [] },
      { what: "nothing after an id that is none", filter: { after: "rec_nonsense" }, found: [] },
      { what: "any of some kinds", filter: { kinds: ["decision", "session.ended"] }, found: [7, 5, 4] },
      { what: "none of no kinds", filter: { kinds: [] }, found: [] },
      { what: "oldest first, where asked", filter: { order: "oldest_first", limit: 3 }, found: [1, 2, 3] },
      { what: "the next page of that", filter: { order: "oldest_first", after: "rec_abcd00000006" }, found: [7, 8] },
      { what: "a job's, oldest first", filter: { job: "7712", order: "oldest_first", limit: 4 }, found: [2, 3, 4, 7] },
      { what: "a job's newest", filter: { job: "7712", limit: 2 }, found: [8, 7] },
    ])("$what", async ({ filter, found }) => {
      const { store } = await opened(
        entries.map((event, index) => recordOf(event, index + 1, start + (index + 1) * 1000)),
      );
      expect(seqs(await store.query({ limit: 100, ...filter }))).toEqual(found);
    });
  });

  test.each(["rec_abcd00000009", "rec_zzzz00000001", "rec_abcd0000000u", "ses_aaaaaaaaaaaaaaaa", ""])(
    "finds no record %s",
    async (id) => {
      const { store } = await opened([recordOf(entries[0]!, 1, start)]);
      expect(await store.get(id)).toBeUndefined();
    },
  );

  describe("state", () => {
    const { opened: open1, renewed, ended, over, revoked, pinned, held, minted } = stateEvent;

    test("is all of a session that has not ended, however old", async () => {
      expect(await stateSeqs([open1("a", 10, 20), minted("a"), held("a")], 1e15)).toEqual([1, 3]);
    });

    test.each([
      { until: "its hard end", events: [open1("a", 2000, 1000), ended("a")], last: 2000 },
      { until: "its token can be replayed", events: [open1("a", 1000, 3000), ended("a")], last: 3000 },
      {
        until: "a later token can be replayed",
        events: [open1("a", 1, 2), renewed("a", 3, 9000), ended("a")],
        last: 9000,
      },
    ])("is all of an ended session until $until, and a while after", async ({ events, last }) => {
      const all = events.map((_, index) => index + 1);
      expect(await stateSeqs(events, last + keepMs)).toEqual(all);
      expect(await stateSeqs(events, last + keepMs + 1)).toEqual([]);
    });

    test("is a tombstone and a revocation until their time, and a pin for ever", async () => {
      const events = [over(500), revoked("a", 700), pinned];
      expect(await stateSeqs(events, 500)).toEqual([1, 2, 3]);
      expect(await stateSeqs(events, 501)).toEqual([2, 3]);
      expect(await stateSeqs(events, 701)).toEqual([3]);
    });

    test("comes in pages, in order, up to a number", async () => {
      const events = [open1("b", 1, 1), pinned, open1("a", 1, 1), held("b"), pinned];
      expect(await stateSeqs(events, 0, { limit: 2 })).toEqual([1, 2]);
      expect(await stateSeqs(events, 0, { afterSeq: 2, limit: 2 })).toEqual([3, 4]);
      expect(await stateSeqs(events, 0, { uptoSeq: 4 })).toEqual([1, 2, 3, 4]);
    });
  });
}
