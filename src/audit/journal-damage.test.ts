import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { WayleaveError } from "../core/errors.ts";
import { checkJournal } from "./check-journal.ts";
import { afterCrash, collect, decided, ended, recordsOf, stopped, testDirectory, testJournal } from "./journal.fake.ts";

/** A closed journal of several segments; its last line is the reservation a clean end leaves. */
async function someSegments(segmentBytes = 400, records = 5) {
  const journal = await testJournal({ segmentBytes });
  for (let at = 0; at < records; at++) await journal.append([at % 2 === 0 ? stopped : ended()]);
  await journal.close();
  const names = readdirSync(journal.dir).filter((name) => name.endsWith(".jsonl"));
  expect(names.length).toBeGreaterThan(1);
  expect((await checkJournal(journal.dir)).tail?.segment).toBe(names.at(-1));
  return { dir: journal.dir, lastSeq: journal.lastSeq, names, last: names.at(-1) ?? "" };
}

test("a last line torn at any byte is removed, and nothing before it is lost", async () => {
  const { dir, lastSeq, last } = await someSegments(700);
  const whole = readFileSync(join(dir, last));
  const start = whole.lastIndexOf(10, -2) + 1;
  expect(start).toBeGreaterThan(0);
  for (let cut = start; cut < whole.length; cut++) {
    writeFileSync(join(dir, last), whole.subarray(0, cut));
    const end = await checkJournal(dir);
    expect(end.lastSeq).toBe(lastSeq - 1);
    expect(end.torn).toEqual(cut === start ? undefined : { segment: last, offset: start });
  }
  const journal = await testJournal({ dir });
  const [record] = await journal.append([stopped]);
  expect((await recordsOf(journal)).at(-1)).toEqual(record);
  expect((await recordsOf(journal)).length).toBe(6);
});

test.each([0, 1, 30])("a last segment of %i bytes, begun when the crash came, is removed", async (bytes) => {
  const { dir, lastSeq } = await someSegments();
  const begun = `journal-${String(lastSeq + 1).padStart(12, "0")}.jsonl`;
  writeFileSync(join(dir, begun), "0".repeat(bytes));
  const journal = await testJournal({ dir });
  expect(journal.durable.segment).not.toBe("");
  expect((await recordsOf(journal)).length).toBe(5);
  expect((await journal.append([stopped]))[0]?.seq).toBeGreaterThan(lastSeq);
});

test("a changed byte anywhere is found, or is in the last line's newline and reads as a torn line", async () => {
  const { dir, lastSeq, names, last } = await someSegments(400, 3);
  const missed: string[] = [];
  for (const name of names) {
    const whole = readFileSync(join(dir, name));
    for (const [at, byte] of whole.entries()) {
      const changed = Buffer.from(whole);
      changed[at] = byte ^ (1 << (at % 8));
      writeFileSync(join(dir, name), changed);
      const found = await checkJournal(dir).catch((error: WayleaveError) => error.code);
      const torn =
        name === last && at === whole.length - 1 && typeof found === "object" && found.lastSeq === lastSeq - 1;
      if (found !== "journal_corrupt" && !torn) missed.push(`${name} byte ${at}`);
    }
    writeFileSync(join(dir, name), whole);
  }
  expect(missed).toEqual([]);
  expect((await checkJournal(dir)).lastSeq).toBe(lastSeq);
});

describe("opening refuses, and names the place", () => {
  test.each<{ what: string; says: RegExp; harm: (dir: string, names: readonly string[]) => void }>([
    {
      what: "a line that was changed",
      says: /journal-0{11}1\.jsonl line 2 \(byte \d+\) does not match its checksum/,
      harm: (dir, [first = ""]) => {
        const text = readFileSync(join(dir, first), "utf8");
        writeFileSync(join(dir, first), text.replace("broker.stopped", "broker.started"));
      },
    },
    {
      what: "a line that was taken out",
      says: /line 2 \(byte \d+\) has number 3 after 1, so records are missing/,
      harm: (dir, [first = ""]) => {
        const [one, , ...rest] = readFileSync(join(dir, first), "utf8").split("\n");
        writeFileSync(join(dir, first), [one, ...rest].join("\n"));
      },
    },
    {
      what: "a line that is there twice",
      says: /line 2 \(byte \d+\) has number 1 after 1/,
      harm: (dir, [first = ""]) => {
        const [one, ...rest] = readFileSync(join(dir, first), "utf8").split("\n");
        writeFileSync(join(dir, first), [one, one, ...rest].join("\n"));
      },
    },
    {
      what: "a segment that was taken out",
      says: /so records are missing before it/,
      harm: (dir, names) => rmSync(join(dir, names[1] ?? "")),
    },
    {
      what: "a segment under another name",
      says: /and the file's name says 3/,
      harm: (dir, [first = ""]) => {
        writeFileSync(join(dir, "journal-000000000003.jsonl"), readFileSync(join(dir, first)));
        rmSync(join(dir, first));
      },
    },
    {
      what: "an emptied segment",
      says: /journal-0{11}1\.jsonl is empty/,
      harm: (dir, [first = ""]) => truncateSync(join(dir, first), 0),
    },
    {
      what: "a segment cut short that is not the last",
      says: /has no end, and it is not the last line/,
      harm: (dir, [first = ""]) => truncateSync(join(dir, first), readFileSync(join(dir, first)).length - 3),
    },
    {
      what: "records without the log's name",
      says: /journal\.meta\.json is missing or unreadable/,
      harm: (dir) => rmSync(join(dir, "journal.meta.json")),
    },
    {
      what: "an unreadable log's name",
      says: /journal\.meta\.json is missing or unreadable/,
      harm: (dir) => writeFileSync(join(dir, "journal.meta.json"), "{"),
    },
  ])("$what", async ({ says, harm }) => {
    const { dir, names } = await someSegments();
    harm(dir, names);
    await expect(testJournal({ dir })).rejects.toMatchObject({
      code: "journal_corrupt",
      message: expect.stringMatching(says),
    });
    await expect(testJournal({ dir })).rejects.toMatchObject({ code: "journal_corrupt" }); // and gave the lock back
  });
});

describe("after a crash", () => {
  test("numbers that may have been given out are never used again, and a gap says at most how many they are", async () => {
    const journal = await testJournal({ reserveNumbers: 100 });
    await journal.append([stopped]);
    const given = journal.note(decided());
    const crashed = afterCrash(journal); // before the note is durable
    const next = await testJournal({ dir: crashed, reserveNumbers: 100 });
    const [gap] = await collect(next.replay(1, new Set(["audit.gap"])));
    // The first record reserves up to 101; the second is the last one that is durable.
    expect(gap).toMatchObject({ seq: 102, data: { after_seq: 2, at_most: 99 } });
    const [record] = await next.append([stopped]);
    expect(record?.seq).toBeGreaterThan(102);
    expect(record?.id).not.toBe(given);
  });

  test("a journal that crashed again right after it was opened opens again", async () => {
    let dir = (await testJournal({ reserveNumbers: 100 })).dir;
    for (let at = 0; at < 3; at++)
      dir = afterCrash(await testJournal({ dir: afterCrash({ dir }), reserveNumbers: 100 }));
    const gaps = await collect((await testJournal({ dir })).replay(1, new Set(["audit.gap"])));
    expect(gaps.map(({ data }) => data)).toHaveLength(4);
  });

  test("no note gets a number that is not durably reserved, however many there are", async () => {
    const journal = await testJournal({ reserveNumbers: 50 });
    let highest = 0;
    journal.onRecord(({ seq }) => {
      highest = seq;
    });
    for (let at = 0; at < 500; at++) {
      journal.note(decided());
      journal.note(decided());
      if (at % 10 === 9) await journal.settled();
    }
    const next = await testJournal({ dir: afterCrash(journal) });
    const gaps = await collect(next.replay(1, new Set(["audit.gap"])));
    expect(gaps.at(-1)?.seq).toBeGreaterThan(highest);
    expect((await recordsOf(next)).length).toBe(1000);
  });
});

test("a clean end leaves no gap", async () => {
  const dir = testDirectory();
  for (let at = 0; at < 3; at++) {
    const journal = await testJournal({ dir });
    await journal.append([stopped]);
    journal.note(decided());
    await journal.close();
  }
  const journal = await testJournal({ dir });
  const all = await collect(journal.replay(1));
  expect(all.filter(({ kind }) => kind === "audit.gap")).toEqual([]);
  expect(all.map(({ seq }) => seq)).toEqual(all.map((_, at) => at + 1));
});
