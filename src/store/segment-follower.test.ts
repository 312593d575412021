import { expect, test } from "vitest";
import { collect, decided, stopped, testJournal } from "../audit/journal.fake.ts";
import type { IndexedRecord, IndexPosition } from "./ports.ts";
import { readPassage } from "./segment-follower.ts";

const start: IndexPosition = { log: "abcd", segment: "", offset: 0, seq: 0 };

test.each([1, 100, 1000, 1 << 20])("passages of about %i bytes cover every record once, in order", async (maxBytes) => {
  const journal = await testJournal({ segmentBytes: 700 });
  for (let at = 0; at < 12; at++) await journal.append([stopped, decided("GET /".padEnd(at * 40, "x"))]);
  const found: IndexedRecord[] = [];
  let position = start;
  while (position.seq < journal.lastSeq) {
    const passage = await readPassage(journal.dir, position, journal.durable, maxBytes);
    expect(passage.records.length).toBeGreaterThan(0);
    found.push(...passage.records);
    position = passage.position;
  }
  const all = await collect(journal.replay(1));
  expect(found.map(({ record }) => record)).toEqual(all);
  expect(found.map(({ json }) => JSON.parse(json))).toEqual(all);
  expect(position).toEqual({ log: "abcd", ...journal.durable });
});

test("nothing past what is durable is read", async () => {
  const journal = await testJournal();
  await journal.append([stopped]);
  const durable = journal.durable;
  await journal.append([stopped, stopped]);
  const passage = await readPassage(journal.dir, start, durable, 1 << 20);
  expect(passage.position).toEqual({ log: "abcd", ...durable });
});

test.each([
  { what: "a position past the end of its segment's records", offset: 3, says: "does not match its checksum" },
  { what: "a position in a segment that is gone", offset: 0, segment: "journal-000000000000.jsonl", says: "ENOENT" },
])("$what is refused", async ({ offset, segment, says }) => {
  const journal = await testJournal();
  await journal.append([stopped]);
  const from = { ...start, segment: segment ?? journal.durable.segment, offset };
  await expect(readPassage(journal.dir, from, journal.durable, 1000)).rejects.toThrow(says);
});
