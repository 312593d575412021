import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { keepMs } from "./index-row.ts";
import type { IndexPosition, KeptText, RecordFilter, Store } from "./ports.ts";
import { openSqliteStore } from "./sqlite-store.ts";
import { entries, recordOf, stateEvent } from "./store.fake.ts";

function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-store-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Every store keeps this contract; another one is one more line. */
const stores: readonly { name: string; open: () => Store }[] = [
  { name: "SQLite in memory", open: () => openSqliteStore(":memory:") },
  { name: "SQLite in a file", open: () => openSqliteStore(join(directory(), "index.sqlite")) },
];

const at: IndexPosition = { log: "abcd", segment: "journal-000000000001.jsonl", offset: 100, seq: 0 };
const start = Date.parse("2026-11-24T09:30:00.000Z");

describe.each(stores)("$name", ({ open }) => {
  async function opened(records: readonly AuditRecord[] = []): Promise<Store> {
    const store = open();
    onTestFinished(() => store.close());
    await store.migrate();
    const seq = records.at(-1)?.seq ?? 0;
    if (records.length > 0) await store.ingest(records.map(toIndex), { ...at, seq });
    return store;
  }

  const toIndex = (record: AuditRecord) => ({ record, json: JSON.stringify(record) });

  const seqs = (kept: readonly KeptText[]) => kept.map(({ json }) => (JSON.parse(json) as AuditRecord).seq);

  async function stateSeqs(events: readonly AuditEvent[], nowMs: number, more = {}) {
    const store = await opened(events.map((event, index) => recordOf(event, index + 1, start)));
    const texts = await store.stateRecords({ nowMs, afterSeq: 0, uptoSeq: 1000, limit: 1000, ...more });
    return seqs(texts);
  }

  test("is empty at first, and may be migrated again", async () => {
    const store = await opened();
    await store.migrate();
    expect(await store.position()).toBeUndefined();
    expect(await store.query({ limit: 10 })).toEqual([]);
    expect(await store.get("rec_abcd00000001")).toBeUndefined();
  });

  test("gives back the journal's very text, and the position that came with it", async () => {
    const store = await opened();
    const record = recordOf(entries[0]!, 1, start);
    const json = `${JSON.stringify(record)} `;
    await store.ingest([{ record, json }], { ...at, seq: 1 });
    expect(await store.get(record.id)).toEqual({ json });
    expect(await store.query({ limit: 10 })).toEqual([{ json }]);
    expect(await store.position()).toEqual({ ...at, seq: 1 });
  });

  test("takes all of a batch or nothing", async () => {
    const store = await opened([recordOf(entries[0]!, 1, start)]);
    const twice = [2, 3, 3].map((seq) => toIndex(recordOf(entries[0]!, seq, start)));
    await expect(store.ingest(twice, { ...at, seq: 3 })).rejects.toThrow();
    expect(seqs(await store.query({ limit: 10 }))).toEqual([1]);
    expect((await store.position())?.seq).toBe(1);
    await store.ingest(twice.slice(0, 2), { ...at, seq: 3 }); // and goes on
    expect(seqs(await store.query({ limit: 10 }))).toEqual([3, 2, 1]);
  });

  test("forgets everything when told", async () => {
    const store = await opened(entries.map((event, index) => recordOf(event, index + 1, start)));
    await store.clear();
    expect(await store.position()).toBeUndefined();
    expect(await store.query({ limit: 10 })).toEqual([]);
    expect(await store.stateRecords({ nowMs: 0, afterSeq: 0, uptoSeq: 1000, limit: 10 })).toEqual([]);
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
      const store = await opened(entries.map((event, index) => recordOf(event, index + 1, start + (index + 1) * 1000)));
      expect(seqs(await store.query({ limit: 100, ...filter }))).toEqual(found);
    });
  });

  test.each(["rec_abcd00000009", "rec_zzzz00000001", "rec_abcd0000000u", "ses_aaaaaaaaaaaaaaaa", ""])(
    "finds no record %s",
    async (id) => {
      const store = await opened([recordOf(entries[0]!, 1, start)]);
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
});

test("a file outlives its store, and is its owner's alone", async () => {
  const file = join(directory(), "index.sqlite");
  const first = openSqliteStore(file);
  await first.migrate();
  const record = recordOf(entries[0]!, 1, start);
  await first.ingest([{ record, json: JSON.stringify(record) }], { ...at, seq: 1 });
  await first.close();
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const second = openSqliteStore(file);
  await second.migrate();
  expect(await second.get(record.id)).toEqual({ json: JSON.stringify(record) });
  await second.close();
});
