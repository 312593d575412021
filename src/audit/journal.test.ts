import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { recordIdPattern } from "../core/ids.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { canonicalJson } from "./canonical-json.ts";
import {
  collect,
  decided,
  ended,
  recordsOf,
  stopped,
  TestDisk,
  testDirectory,
  testJournal,
  testTime,
} from "./journal.fake.ts";
import { openJournal } from "./journal.ts";
import { anyEvent } from "./record.fake.ts";

const options = { clock: { now: () => testTime }, random: (bytes: number) => new Uint8Array(bytes).fill(7) };

/** Appends some, notes others; resolves with the ids, in order. */
async function write(journal: Awaited<ReturnType<typeof testJournal>>, groups: readonly (readonly AuditEvent[])[]) {
  const ids: Promise<readonly string[]>[] = [];
  for (const [at, group] of groups.entries()) {
    if (at % 2 === 0) ids.push(journal.append(group).then((records) => records.map(({ id }) => id)));
    else ids.push(Promise.resolve(group.map((event) => journal.note(event))));
  }
  await journal.settled();
  return (await Promise.all(ids)).flat();
}

test("what was appended and noted is replayed: same records, same bytes, same order, after reopening too", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(anyEvent, { maxLength: 4 }), { maxLength: 6 }), async (groups) => {
      const dir = testDirectory();
      const journal = await openJournal({ ...options, dir, segmentBytes: 2000 });
      const ids = await write(journal, groups);
      const before = await recordsOf(journal);
      await journal.close();
      const again = await openJournal({ ...options, dir, segmentBytes: 2000 });
      const after = await recordsOf(again);
      await again.close();
      expect(after).toEqual(before);
      expect(after.map(({ id }) => id)).toEqual(ids);
      const said = groups.flat().map((event) => JSON.parse(canonicalJson(event)));
      expect(after.map(({ v: _v, id: _id, seq: _seq, time: _time, ...event }) => event)).toEqual(said);
    }),
    { numRuns: 30 },
  );
});

test("a line is a checksum and the record as canonical JSON", async () => {
  const journal = await testJournal();
  const [record] = await journal.append([stopped]);
  const line = readFileSync(join(journal.dir, journal.durable.segment), "utf8").split("\n").at(-2) ?? "";
  expect(line).toMatch(/^[0-9a-f]{8} \{/);
  expect(line.slice(9)).toBe(canonicalJson(record));
});

test("ids carry the log's name and sort as the numbers do", async () => {
  const journal = await testJournal();
  const records = await journal.append(Array.from({ length: 2100 }, () => stopped));
  const ids = records.map(({ id }) => id);
  for (const id of ids) expect(id).toMatch(recordIdPattern);
  expect(ids).toEqual(ids.toSorted());
  expect(new Set(ids).size).toBe(2100);
  expect(ids.every((id) => id.slice(4, 8) === journal.log)).toBe(true);
});

test("replay starts at a number, in the right segment, and takes only the kinds it is asked for", async () => {
  const journal = await testJournal({ segmentBytes: 500 });
  const written: AuditRecord[] = [];
  for (let at = 0; at < 20; at++) written.push(...(await journal.append([at % 2 === 0 ? stopped : ended()])));
  expect(readdirSync(journal.dir).filter((name) => name.endsWith(".jsonl")).length).toBeGreaterThan(3);
  for (const { seq } of written) {
    expect(await recordsOf(journal, seq)).toEqual(written.filter((record) => record.seq >= seq));
  }
  const ends = await collect(journal.replay(1, new Set(["session.ended"])));
  expect(ends).toEqual(written.filter(({ kind }) => kind === "session.ended"));
  expect(await collect(journal.replay(journal.lastSeq + 1))).toEqual([]);
});

describe("group commit", () => {
  test("everything asked for in one turn is one write and one sync", async () => {
    const disk = new TestDisk();
    const journal = await testJournal({ disk });
    const before = { writes: disk.writes, syncs: disk.syncs };
    const all = Array.from({ length: 50 }, () => journal.append([stopped]));
    journal.note(decided());
    await Promise.all([...all, journal.settled()]);
    expect({ writes: disk.writes - before.writes, syncs: disk.syncs - before.syncs }).toEqual({ writes: 1, syncs: 1 });
  });

  test("everything that comes while the disk works goes together afterwards", async () => {
    const disk = new TestDisk();
    const journal = await testJournal({ disk });
    disk.stall();
    const first = journal.append([stopped]);
    const synced = disk.syncs;
    while (disk.syncs === synced) await new Promise(setImmediate);
    const rest = Array.from({ length: 50 }, () => journal.append([stopped]));
    disk.resume();
    await Promise.all([first, ...rest]);
    expect(disk.syncs).toBe(synced + 2);
  });

  test("an append resolves only after the sync that covers it", async () => {
    const disk = new TestDisk();
    const journal = await testJournal({ disk });
    disk.stall();
    let resolved = false;
    const appended = journal.append([stopped]).then(() => {
      resolved = true;
    });
    const synced = disk.syncs;
    while (disk.syncs === synced) await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(resolved).toBe(false);
    expect(await recordsOf(journal)).toEqual([]);
    disk.resume();
    await appended;
    expect(resolved).toBe(true);
  });

  test("a note becomes durable without anybody asking", async () => {
    const journal = await testJournal({ noteDelayMs: 1 });
    const durable = new Promise<AuditRecord>((resolve) => journal.onRecord(resolve));
    const id = journal.note(decided());
    expect((await durable).id).toBe(id);
  });

  test("a batch that cannot be written in one call is written in several", async () => {
    const disk = new TestDisk();
    const whole = disk.write.bind(disk);
    disk.write = (fd, buffer, offset, length, position) => whole(fd, buffer, offset, Math.ceil(length / 3), position);
    const journal = await testJournal({ disk });
    const records = await journal.append([stopped, ended()]);
    expect(await recordsOf(journal)).toEqual(records);
  });
});

describe("listeners", () => {
  test("see each durable record once and in order, and hear of the position first", async () => {
    const journal = await testJournal();
    const seen: AuditRecord[] = [];
    let position = 0;
    journal.onDurable(({ seq }) => {
      position = seq;
    });
    const stop = journal.onRecord((record) => {
      expect(record.seq).toBeLessThanOrEqual(position);
      seen.push(record);
    });
    const groups = [[stopped], [decided(), decided()], [ended()], [decided()]];
    const ids = await write(journal, groups);
    expect(seen.map(({ id }) => id)).toEqual(ids);
    stop();
    await journal.append([stopped]);
    expect(seen.length).toBe(5);
  });

  test("the position they hear of is where the file ends", async () => {
    const journal = await testJournal({ segmentBytes: 300 });
    for (let at = 0; at < 5; at++) {
      await journal.append([stopped]);
      expect(statSync(join(journal.dir, journal.durable.segment)).size).toBe(journal.durable.offset);
    }
  });
});

describe("the directory", () => {
  test("and its files are their owner's alone", async () => {
    const dir = join(testDirectory(), "journal");
    const journal = await testJournal({ dir });
    await journal.append([stopped]);
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(dir)) expect([name, statSync(join(dir, name)).mode & 0o777]).toEqual([name, 0o600]);
  });

  test("is refused to a second journal, and free again after the first", async () => {
    const journal = await testJournal();
    await expect(testJournal({ dir: journal.dir })).rejects.toMatchObject({
      code: "journal_unavailable",
      message: expect.stringContaining("another Wayleave process"),
    });
    await journal.append([stopped]); // the attempt did no harm
    await journal.close();
    const next = await testJournal({ dir: journal.dir });
    expect((await recordsOf(next)).length).toBe(1);
  });

  test("keeps its log's name", async () => {
    const journal = await testJournal();
    await journal.close();
    const next = await testJournal({ dir: journal.dir, random: (bytes) => new Uint8Array(bytes).fill(9) });
    expect(next.log).toBe(journal.log);
  });
});

test("a closed journal takes nothing more", async () => {
  const journal = await testJournal();
  const noted = journal.note(decided());
  await journal.close();
  await journal.close();
  await expect(journal.append([stopped])).rejects.toMatchObject({ code: "journal_unavailable" });
  await expect(journal.append([ended()])).rejects.toMatchObject({ code: "journal_unavailable" });
  expect(() => journal.note(decided())).toThrow(expect.objectContaining({ code: "journal_unavailable" }));
  expect((await recordsOf(journal)).map(({ id }) => id)).toEqual([noted]);
});
