import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { collect, decided, stopped, testDirectory, testJournal } from "../audit/journal.fake.ts";
import type { Journal } from "../audit/journal.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { type AuditIndex, openAuditIndex } from "./audit-index.ts";
import type { RecordFilter } from "./ports.ts";

async function testIndex(journal: Journal, file = join(testDirectory(), "index.sqlite")): Promise<AuditIndex> {
  const index = await openAuditIndex(file, journal);
  onTestFinished(() => index.close());
  return index;
}

function published(first: number, count: number, subject = "build.status.7", session = "a"): AuditEvent {
  const messages = Array.from({ length: count }, (_, at) => `publish-status ${subject}.${first + at} - 0 128`);
  const place = { gateway: "nats-1", connection: "nc_aaaaaaaaaaaaaaaa", target: "events", account: "CI" };
  return {
    kind: "nats.published",
    session: `ses_${session.repeat(16)}`,
    data: { ...place, first, messages, bytes: count * 128, policy: "41c0" },
  };
}

/** A job publishes one message, many, and one again, and does something else in between. */
async function indexed() {
  const journal = await testJournal({ segmentBytes: 40_000 });
  const events = [published(1, 1), decided(), published(2, 500), stopped, published(502, 1, "deploy.done", "b")];
  for (const event of events) await journal.append([event]);
  return { journal, index: await testIndex(journal) };
}

const firsts = (records: readonly AuditRecord[]) =>
  records.map((record) => (record.kind === "nats.published" ? [record.data.first, record.data.messages.length] : []));

async function all(index: AuditIndex, filter: Partial<RecordFilter>): Promise<readonly AuditRecord[]> {
  const found: AuditRecord[] = [];
  for (let after = "rec_000000000000"; ; ) {
    const page = await index.query({ limit: 1000, order: "oldest_first", ...filter, after });
    if (page.length === 0) return found;
    found.push(...page);
    after = page.at(-1)?.id ?? "";
  }
}

test("a long record comes back whole, by a filter and by its id", async () => {
  const { journal, index } = await indexed();
  const records = await collect(journal.replay(1));
  expect(await all(index, {})).toEqual(records);
  const long = records.find((record) => record.kind === "nats.published" && record.data.messages.length === 500);
  expect(await index.get(long?.id ?? "")).toEqual(long);
});

test("is found by target, gateway and session", async () => {
  const { index } = await indexed();
  const filter = { target: "events", gateway: "nats-1", session: "ses_aaaaaaaaaaaaaaaa" };
  expect(firsts(await all(index, filter))).toEqual([
    [1, 1],
    [2, 500],
  ]);
  expect(await all(index, { gateway: "nats-2" })).toEqual([]);
});

test("its messages are left out where brief is enough, and those of a short one need not be", async () => {
  const { index } = await indexed();
  expect(firsts(await all(index, { kind: "nats.published", brief: true }))).toEqual([
    [1, 1],
    [2, 0],
    [502, 1],
  ]);
});

test("the index does not hold the messages a second time", async () => {
  const journal = await testJournal();
  const file = join(testDirectory(), "index.sqlite");
  for (let at = 0; at < 20; at++) await journal.append([published(1 + at * 2000, 2000)]);
  const index = await openAuditIndex(file, journal);
  await index.caughtUp(journal.lastSeq);
  await index.close();
  expect(journal.durable.offset).toBeGreaterThan(1_500_000);
  expect(statSync(file).size).toBeLessThan(journal.durable.offset / 5);
});

test("pages of long records end early, and together they have each once", async () => {
  const journal = await testJournal();
  for (let at = 0; at < 40; at++) await journal.append([published(1 + at * 2000, 2000)]);
  const index = await testIndex(journal);
  const page = await index.query({ limit: 1000, kind: "nats.published", order: "oldest_first" });
  expect(page.length).toBeLessThan(20);
  expect(page.length).toBeGreaterThan(1);
  expect(await all(index, { kind: "nats.published" })).toHaveLength(40);
});

test("an index whose last record is a long one goes on where it stood, and is built again where that is not there", async () => {
  const journal = await testJournal();
  const file = join(testDirectory(), "index.sqlite");
  await journal.append([published(1, 500)]);
  const first = await openAuditIndex(file, journal);
  await first.caughtUp(journal.lastSeq);
  await first.close();
  const again = await openAuditIndex(file, journal);
  expect(again.appliedSeq).toBe(journal.lastSeq);
  await again.close();
  const other = await testJournal();
  await other.append([published(1, 500, "build.status.8")]);
  const rebuilt = await testIndex(other, file);
  expect(await all(rebuilt, {})).toEqual(await collect(other.replay(1)));
});

test("a long record damaged behind the journal's back is an error of the read, never a wrong answer", async () => {
  const { journal, index } = await indexed();
  await index.caughtUp(journal.lastSeq);
  const [segment] = [journal.durable.segment];
  const path = join(journal.dir, segment);
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.replace("build.status.7.400 ", "build.status.7.999 "));
  await expect(all(index, { kind: "nats.published" })).rejects.toMatchObject({
    code: "internal",
    message: expect.stringContaining("does not match its checksum"),
  });
  expect(await all(index, { brief: true })).toHaveLength(6);
  writeFileSync(path, text);
  expect(await all(index, {})).toEqual(await collect(journal.replay(1)));
});

describe("who published to a subject", () => {
  test.each([
    {
      subject: "build.status.7.1",
      found: [
        [1, 1],
        [502, 0],
      ],
    },
    {
      subject: "build.status.7.*",
      found: [
        [1, 1],
        [2, 500],
        [502, 0],
      ],
    },
    {
      subject: "build.status.7.400",
      found: [
        [2, 500],
        [502, 0],
      ],
    },
    { subject: "deploy.>", found: [[502, 1]] },
    {
      subject: "*.status.7.2",
      found: [
        [2, 500],
        [502, 0],
      ],
    },
    { subject: "build.status", found: [[502, 0]] },
    { subject: "nothing.like.it", found: [[502, 0]] },
  ])("$subject", async ({ subject, found }) => {
    const { index } = await indexed();
    const page = await index.query({ limit: 100, subject, order: "oldest_first" });
    expect(firsts(page)).toEqual(found);
  });

  test("is found where brief records are asked for as well", async () => {
    const { index } = await indexed();
    const found = await index.query({ limit: 100, subject: "build.status.7.400", brief: true, order: "oldest_first" });
    expect(firsts(found)).toEqual([
      [2, 500],
      [502, 0],
    ]);
  });

  test("is asked for page by page, and every page says where it ended", async () => {
    const { index } = await indexed();
    expect(firsts(await all(index, { subject: "deploy.>", limit: 1 }))).toEqual([
      [1, 0],
      [2, 0],
      [502, 1],
    ]);
    expect(firsts(await index.query({ subject: "build.>", limit: 1 }))).toEqual([[502, 0]]);
  });
});
