import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { IndexPosition } from "./ports.ts";
import { openSqliteStore } from "./sqlite-store.ts";
import { entries, recordOf } from "./store.fake.ts";
import { storeContract } from "./store-contract.fake.ts";

function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-store-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const at: IndexPosition = { log: "abcd", segment: "journal-000000000001.jsonl", offset: 100, seq: 0 };
const start = Date.parse("2026-11-24T09:30:00.000Z");

describe.each([
  { name: "SQLite in memory", open: () => openSqliteStore(":memory:") },
  { name: "SQLite in a file", open: () => openSqliteStore(join(directory(), "index.sqlite")) },
])("$name", ({ open }) => {
  storeContract(async () => {
    const store = open();
    return {
      store,
      write: (records) => store.ingest(records, { ...at, seq: records.at(-1)?.record.seq ?? 0 }),
    };
  });

  test("keeps the position that came with the records, or neither, and forgets everything when told", async () => {
    const store = open();
    onTestFinished(() => store.close());
    await store.migrate();
    expect(await store.position()).toBeUndefined();
    const records = entries.map((event, index) => {
      const record = recordOf(event, index + 1, start);
      return { record, json: JSON.stringify(record) };
    });
    await store.ingest(records, { ...at, seq: 8 });
    expect(await store.position()).toEqual({ ...at, seq: 8 });
    await expect(store.ingest(records, { ...at, seq: 16 })).rejects.toThrow();
    expect(await store.position()).toEqual({ ...at, seq: 8 });
    await store.clear();
    expect(await store.position()).toBeUndefined();
    expect(await store.query({ limit: 10 })).toEqual([]);
    expect(await store.stateRecords({ nowMs: 0, afterSeq: 0, uptoSeq: 1000, limit: 10 })).toEqual([]);
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
