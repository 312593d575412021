import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { afterCrash, collect, decided, ended, stopped, testDirectory, testJournal } from "../audit/journal.fake.ts";
import type { Journal } from "../audit/journal.ts";
import { anyEvent } from "../audit/record.fake.ts";
import { recover } from "../audit/recover.ts";
import { type AuditIndex, openAuditIndex } from "./audit-index.ts";

async function testIndex(journal: Journal, file = join(testDirectory(), "index.sqlite")): Promise<AuditIndex> {
  const index = await openAuditIndex(file, journal);
  onTestFinished(() => index.close());
  return index;
}

async function everything(index: AuditIndex) {
  return (await index.query({ limit: 10_000 })).toReversed();
}

test("the index has what the journal has, across segments, whatever the records", async () => {
  const journal = await testJournal({ segmentBytes: 3000 });
  const index = await testIndex(journal);
  await fc.assert(
    fc.asyncProperty(fc.array(anyEvent, { maxLength: 12 }), async (events) => {
      await journal.append(events);
      expect(await everything(index)).toEqual(await collect(journal.replay(1)));
    }),
    { numRuns: 25 },
  );
});

test("a read sees all that was durable when it was asked", async () => {
  const journal = await testJournal();
  const index = await testIndex(journal);
  for (let at = 0; at < 20; at++) {
    const [record] = await journal.append([at % 2 === 0 ? stopped : decided()]);
    expect(await index.get(record?.id ?? "")).toEqual(record);
    expect((await index.query({ limit: 1 }))[0]).toEqual(record);
    expect(index.appliedSeq).toBe(journal.lastSeq);
  }
});

test("many reads at once are each answered with their own", async () => {
  const journal = await testJournal();
  const index = await testIndex(journal);
  const records = await journal.append(Array.from({ length: 100 }, () => decided()));
  const found = await Promise.all(records.map(({ id }) => index.get(id)));
  expect(found).toEqual(records);
});

describe("an index file that is", () => {
  async function indexed() {
    const journal = await testJournal({ segmentBytes: 1000 });
    const file = join(testDirectory(), "index.sqlite");
    await journal.append(Array.from({ length: 20 }, () => decided()));
    const index = await openAuditIndex(file, journal);
    await index.caughtUp(journal.lastSeq);
    await index.close();
    return { journal, file };
  }

  test("there goes on where it stood", async () => {
    const { journal, file } = await indexed();
    const before = journal.lastSeq;
    await journal.append([stopped]);
    const index = await openAuditIndex(file, journal);
    expect(index.appliedSeq).toBeGreaterThanOrEqual(before);
    expect(await everything(index)).toEqual(await collect(journal.replay(1)));
    await index.close();
  });

  test("gone is built again", async () => {
    const { journal, file } = await indexed();
    rmSync(file);
    const index = await testIndex(journal, file);
    expect(await everything(index)).toEqual(await collect(journal.replay(1)));
  });

  test("of another log is built again", async () => {
    const { file } = await indexed();
    const other = await testJournal({ random: (bytes) => new Uint8Array(bytes).fill(9) });
    await other.append([stopped]);
    const index = await testIndex(other, file);
    expect(await everything(index)).toEqual(await collect(other.replay(1)));
  });

  test("ahead of a journal that came from a backup is built again", async () => {
    const journal = await testJournal();
    await journal.append([stopped]);
    const backup = afterCrash(journal);
    await journal.append(Array.from({ length: 50 }, () => decided()));
    const file = join(testDirectory(), "index.sqlite");
    const first = await openAuditIndex(file, journal);
    await first.caughtUp(journal.lastSeq);
    await first.close();
    const restored = await testJournal({ dir: backup, reserveNumbers: 2 });
    const index = await testIndex(restored, file);
    expect(await everything(index)).toEqual(await collect(restored.replay(1)));
  });

  test("no database is refused with what to do", async () => {
    const { journal, file } = await indexed();
    writeFileSync(file, "not a database, and longer than the header of one".repeat(100));
    await expect(openAuditIndex(file, journal)).rejects.toMatchObject({
      code: "internal",
      message: expect.stringContaining("delete the index file"),
    });
  });
});

test("a segment damaged behind the journal's back is an error of the read, never a wrong answer", async () => {
  const journal = await testJournal();
  await journal.append([decided(), ended()]);
  const path = join(journal.dir, journal.durable.segment);
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.replace("billing", "bullion"));
  const index = await testIndex(journal);
  await expect(index.query({ limit: 10 })).rejects.toMatchObject({
    code: "internal",
    message: expect.stringContaining("does not match its checksum"),
  });
  writeFileSync(path, text);
  expect(await everything(index)).toEqual(await collect(journal.replay(1)));
});

test("a closed index refuses, and the journal goes on", async () => {
  const journal = await testJournal();
  const index = await openAuditIndex(join(testDirectory(), "index.sqlite"), journal);
  await index.close();
  await expect(index.query({ limit: 1 })).rejects.toMatchObject({ code: "internal" });
  await expect(index.get("rec_abcd00000001")).rejects.toMatchObject({ code: "internal" });
  await journal.append([stopped]);
});

test("state is recovered the same with an index, with an index behind, and without one", async () => {
  const journal = await testJournal({ segmentBytes: 5000 });
  const file = join(testDirectory(), "index.sqlite");
  const [some, more] = [fc.sample(anyEvent, { numRuns: 150, seed: 1 }), fc.sample(anyEvent, { numRuns: 50, seed: 2 })];
  await journal.append(some);
  const first = await openAuditIndex(file, journal);
  await first.caughtUp(journal.lastSeq);
  await first.close();
  await journal.append(more);
  const all = async (index: AuditIndex) => collect(recover({ journal, index, now: 0 }));
  const behind = await testIndex(journal, file);
  const recovered = await all(behind);
  expect(recovered.length).toBeGreaterThan(50);
  await behind.caughtUp(journal.lastSeq);
  expect(await all(behind)).toEqual(recovered);
  expect(await all(await testIndex(journal))).toEqual(recovered);
});
