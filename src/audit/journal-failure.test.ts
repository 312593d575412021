import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { AuditEvent } from "../core/record.ts";
import { collect, decided, ended, recordsOf, stopped, TestDisk, testJournal } from "./journal.fake.ts";

const unavailable = expect.objectContaining({ code: "journal_unavailable" });

describe("a disk error", () => {
  test.each([
    { what: "of a write", harm: (disk: TestDisk) => Object.assign(disk, { failWrites: "EIO" }) },
    { what: "of a sync", harm: (disk: TestDisk) => Object.assign(disk, { failSyncs: "EIO" }) },
  ])("$what refuses all that waited and all that comes, even after the disk is well again", async ({ harm }) => {
    const disk = new TestDisk();
    const journal = await testJournal({ disk });
    const [before] = await journal.append([stopped]);
    harm(disk);
    journal.note(decided());
    const waiting = [journal.append([stopped]), journal.append([ended()]), journal.settled()];
    for (const result of await Promise.allSettled(waiting)) expect(result).toMatchObject({ reason: unavailable });
    Object.assign(disk, { failWrites: undefined, failSyncs: undefined });
    await expect(journal.append([ended()])).rejects.toEqual(unavailable);
    await expect(journal.settled()).rejects.toEqual(unavailable);
    expect(() => journal.note(decided())).toThrow(unavailable);
    expect(journal.failure).toEqual(unavailable);
    expect(await recordsOf(journal)).toEqual([before]);
  });

  test("leaves nothing of what was refused for the next start to read", async () => {
    const disk = new TestDisk();
    const journal = await testJournal({ disk });
    const [before] = await journal.append([stopped]);
    disk.failSyncs = "EIO";
    await expect(journal.append([ended()])).rejects.toEqual(unavailable);
    await journal.close();
    const next = await testJournal({ dir: journal.dir });
    expect(await recordsOf(next)).toEqual([before]);
    const gaps = await collect(next.replay(1, new Set(["audit.gap"])));
    expect(gaps).toHaveLength(1);
  });

  test("at the start is an error of the start, and gives the directory back", async () => {
    const disk = new TestDisk();
    disk.failSyncs = "EIO";
    const { dir } = await testJournal();
    const closed = await testJournal();
    await closed.close();
    await expect(testJournal({ dir: closed.dir, disk })).rejects.toEqual(unavailable);
    disk.failSyncs = undefined;
    await testJournal({ dir: closed.dir, disk });
    expect(dir).not.toBe(closed.dir);
  });
});

describe("a full disk", () => {
  /** A journal whose disk was full once, and has room again for what its reserve gave back. */
  async function filled(segmentBytes = 64 << 20) {
    const disk = new TestDisk();
    const journal = await testJournal({ disk, segmentBytes });
    disk.failWrites = "ENOSPC";
    const noted = journal.note(decided());
    const end = journal.append([ended()]);
    const other = journal.append([stopped]);
    const mixed = journal.append([ended("ses_bbbbbbbbbbbbbbbb"), stopped]);
    const refused = Promise.allSettled([other, mixed, journal.settled()]);
    while (existsSync(join(journal.dir, "journal.reserve"))) await new Promise(setImmediate);
    disk.failWrites = undefined;
    for (const result of await refused) expect(result).toMatchObject({ reason: unavailable });
    return { disk, journal, noted, end };
  }

  test("still records the end that was waiting, and says what is missing", async () => {
    const { journal, noted, end } = await filled();
    const [record] = await end;
    expect(record).toMatchObject({ kind: "session.ended", session: "ses_aaaaaaaaaaaaaaaa" });
    expect(await recordsOf(journal)).toEqual([record]);
    const [gap] = await collect(journal.replay(1, new Set(["audit.gap"])));
    expect(gap?.data).toEqual({ after_seq: 1, at_most: 5 });
    expect(record?.id).not.toBe(noted);
  });

  test("takes what ends or narrows, and nothing else", async () => {
    const { journal, end } = await filled();
    await end;
    const over = { issuer: "gitlab", project_id: "1", job_id: "2", status: "failed", until: 1 };
    await journal.append([ended("ses_cccccccccccccccc"), { kind: "job.over", data: over }]);
    await journal.append([{ kind: "credential.revoked", data: { jti: "j", until: 1 } }]);
    await expect(journal.append([stopped])).rejects.toEqual(unavailable);
    await expect(journal.append([ended(), stopped])).rejects.toEqual(unavailable);
    expect(() => journal.note(decided())).toThrow(unavailable);
    expect((await recordsOf(journal)).map(({ kind }) => kind)).toEqual([
      "session.ended",
      "session.ended",
      "job.over",
      "credential.revoked",
    ]);
  });

  test("that is still full refuses everything", async () => {
    const { disk, journal, end } = await filled();
    await end;
    disk.failWrites = "ENOSPC";
    await expect(journal.append([ended()])).rejects.toEqual(unavailable);
    disk.failWrites = undefined;
    await expect(journal.append([ended()])).rejects.toEqual(unavailable);
  });

  test.each([
    { when: "within a segment", segmentBytes: 64 << 20 },
    { when: "at the start of one", segmentBytes: 1 },
  ])("$when is forgotten after a restart with room, and space is set aside again", async ({ segmentBytes }) => {
    const { journal, end } = await filled(segmentBytes);
    const [record] = await end;
    await journal.close();
    const next = await testJournal({ dir: journal.dir });
    expect(await recordsOf(next)).toEqual([record]);
    expect(existsSync(join(next.dir, "journal.reserve"))).toBe(true);
    await next.append([stopped]);
  });
});

describe("records that come faster than the disk takes them", () => {
  test("are refused once too much waits, and taken again when it is written; ends always are", async () => {
    const disk = new TestDisk();
    const journal = await testJournal({ disk, maxPendingBytes: 2000 });
    disk.stall();
    const ids: string[] = [];
    expect(() => {
      for (;;) ids.push(journal.note(decided()));
    }).toThrow(unavailable);
    expect(ids.length).toBeGreaterThan(3);
    await expect(journal.append([stopped])).rejects.toEqual(unavailable);
    const end = journal.append([ended()]);
    disk.resume();
    const [record] = await end;
    ids.push(record?.id ?? "", journal.note(decided()));
    await journal.settled();
    expect((await recordsOf(journal)).map(({ id }) => id)).toEqual(ids);
  });

  test("are refused when their numbers are not yet durably reserved", async () => {
    const disk = new TestDisk();
    const journal = await testJournal({ disk, reserveNumbers: 10 });
    disk.stall();
    let given = 0;
    expect(() => {
      for (;;) given += journal.note(decided()).length > 0 ? 1 : 0;
    }).toThrow(unavailable);
    expect(given).toBeLessThan(10);
    disk.resume();
    await journal.settled();
    journal.note(decided());
  });
});

describe("a record that JSON cannot say", () => {
  const impossible: AuditEvent = { kind: "credential.revoked", data: { jti: "j", until: Number.NaN } };

  test("is refused with all of its group, and leaves no hole", async () => {
    const journal = await testJournal();
    await expect(journal.append([stopped, impossible])).rejects.toThrow(TypeError);
    expect(() => journal.note(impossible)).toThrow(TypeError);
    const records = await journal.append([ended()]);
    await journal.close();
    const next = await testJournal({ dir: journal.dir });
    expect(await recordsOf(next)).toEqual(records);
  });
});
