import { describe, expect, test } from "vitest";
import type { AuditEvent } from "../core/record.ts";
import { decided, recordsOf, TestDisk, testJournal } from "./journal.fake.ts";

const place = { gateway: "nats-1", connection: "nc_aaaaaaaaaaaaaaaa", target: "events", account: "CI" };

/** Messages of about 1 KiB. */
function published(first: number): AuditEvent {
  const messages = Array.from({ length: 20 }, (_, at) => `publish-status build.status.7.${first + at} - 0 128`);
  return { kind: "nats.published", data: { ...place, first, messages, bytes: 20 * 128, policy: "41c0" } };
}

/** One of 1 KiB, with the longest subject there is. */
function subscribed(first: number): AuditEvent {
  const subject = `build.${"x".repeat(1_000)}`;
  return { kind: "nats.subscribed", data: { ...place, sid: String(first), subject, rule: "inbox", policy: "41c0" } };
}

/** Small ones, which come in large numbers. */
function unsubscribed(first: number): AuditEvent {
  return { kind: "nats.unsubscribed", data: { ...place, sid: `${first}${"0".repeat(600)}`, max: first } };
}

/** A journal whose disk stands still, and takes 16 KiB meanwhile. */
async function stalled() {
  const disk = new TestDisk();
  const journal = await testJournal({ disk, maxPendingBytes: 16 << 10 });
  disk.stall();
  return { disk, journal };
}

/** True while the promise is neither kept nor broken after what was asked before it had its turns. */
async function waits(promise: Promise<unknown>): Promise<boolean> {
  const turns = async () => {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    return true;
  };
  return Promise.race([promise.then(() => false), turns()]);
}

describe("records of what clients send, where they come faster than the disk", () => {
  test.each([
    ["messages", published],
    ["subscriptions", subscribed],
    ["ends of subscriptions", unsubscribed],
  ])("of %s wait, and leave room for decisions", async (_, made) => {
    const { disk, journal } = await stalled();
    const appended = Array.from({ length: 40 }, (_, at) => journal.append([made(1 + at * 20)]));
    expect(await waits(Promise.all(appended))).toBe(true);
    expect(journal.note(decided())).toMatch(/^rec_/);
    const decision = journal.append([decided()]);
    disk.resume();
    await Promise.all([...appended, decision]);
    const records = await recordsOf(journal);
    expect(records).toHaveLength(42);
  });

  test("keep the order of one that waits for each", async () => {
    const { disk, journal } = await stalled();
    const others = Array.from({ length: 20 }, () => journal.append([published(1)]));
    const mine = (async () => {
      for (let at = 0; at < 10; at++) await journal.append([published(1_000 + at)]);
    })();
    disk.resume();
    await Promise.all([...others, mine]);
    const firsts = (await recordsOf(journal)).flatMap((record) =>
      record.kind === "nats.published" && record.data.first >= 1_000 ? [record.data.first] : [],
    );
    expect(firsts).toEqual(Array.from({ length: 10 }, (_, at) => 1_000 + at));
  });

  test("are refused where they cannot wait, while decisions are not", async () => {
    const { disk, journal } = await stalled();
    const noteAll = () => {
      for (let at = 0; at < 40; at++) journal.note(published(1 + at * 20));
    };
    expect(noteAll).toThrow(expect.objectContaining({ code: "journal_unavailable" }));
    expect(journal.note(decided())).toMatch(/^rec_/);
    disk.resume();
    await journal.settled();
  });

  test("are refused, and not kept waiting, where the disk fails", async () => {
    const { disk, journal } = await stalled();
    const appended = Array.from({ length: 40 }, (_, at) => journal.append([published(1 + at * 20)]));
    disk.failSyncs = "EIO";
    disk.resume();
    const outcomes = await Promise.allSettled(appended);
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toEqual([]);
    await expect(journal.append([published(1)])).rejects.toMatchObject({ code: "journal_unavailable" });
  });

  test("are refused, and not kept waiting, where the broker stops", async () => {
    const { disk, journal } = await stalled();
    const appended = Promise.allSettled(
      Array.from({ length: 40 }, (_, at) => journal.append([published(1 + at * 20)])),
    );
    await new Promise(setImmediate);
    const closed = journal.close();
    disk.resume();
    await closed;
    const outcomes = await appended;
    expect(outcomes.some(({ status }) => status === "rejected")).toBe(true);
    expect(outcomes.some(({ status }) => status === "fulfilled")).toBe(true);
  });
});
