import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Journal, openJournal } from "../src/audit/journal.ts";
import { recordLine } from "../src/audit/record-line.ts";
import type { AuditEvent, RecordJob } from "../src/core/record.ts";
import { openAuditIndex } from "../src/store/audit-index.ts";
import { machine, table, thousands } from "./machine.ts";

/**
 * What records of NATS messages cost: messages a second through the journal, and processor time for each message, with
 * the index behind it as in `serve`. Run alone: `node bench/nats-records.ts [directory on the disk to measure]`.
 */
const base = process.argv[2] ?? tmpdir();
const roundMs = 3000;
/** Messages that a gateway has waiting at most: it stops reading its clients before the journal refuses. */
const ahead = 40_000;

const job: RecordJob = {
  issuer: "gitlab",
  project_id: "1042",
  project: "acme/shop",
  pipeline_id: "88123",
  job_id: "7712",
  job_name: "release",
  ref: "feature/x",
};

/** Texts of 30 to 60 characters, no two alike: as long as those of real subjects. */
const texts = Array.from({ length: 10_000 }, (_, at) => {
  const subject = `build.status.1042.step-${at}${".x".repeat(at % 12)}`;
  return `publish-status ${subject} - ${at % 3 === 0 ? 93 : 74} 128`;
});

function published(first: number, count: number): AuditEvent {
  const from = first % (texts.length - count);
  return {
    kind: "nats.published",
    session: "ses_8f2k8f2k8f2k8f2k",
    job,
    data: {
      gateway: "nats-1",
      connection: "nc_8f2k8f2k8f2k8f2k",
      target: "events",
      account: "CI",
      first,
      messages: texts.slice(from, from + count),
      bytes: count * 202,
      policy: "41c0aa1122334455",
    },
  };
}

interface Row {
  readonly messages: number;
  readonly ms: number;
  readonly cpuUs: number;
}

/** Rounds of the journal's thread; the index's own is counted where there is one. */
async function measure(round: () => Promise<number>): Promise<Row> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  let messages = 0;
  while (performance.now() - start < roundMs) messages += await round();
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { messages, ms, cpuUs: (user + system) / messages };
}

/** As a durable gateway does: what one turn read is appended, and the next turns are under way while it waits. */
function durable(journal: Journal, size: number): () => Promise<number> {
  const waiting = new Set<Promise<unknown>>();
  let first = 1;
  return async () => {
    const done = journal.append([published(first, size)]).finally(() => waiting.delete(done));
    waiting.add(done);
    first += size;
    if (waiting.size * size >= ahead) await Promise.race(waiting);
    else await new Promise(setImmediate);
    return size;
  };
}

/** As a fast gateway does: noted, and held back only while half of what it may have on its way is not durable yet. */
function noted(journal: Journal, size: number): () => Promise<number> {
  let first = 1;
  let since = 0;
  let settled: Promise<void> = Promise.resolve();
  return async () => {
    journal.note(published(first, size));
    first += size;
    since += size;
    if (since < ahead / 2) {
      await new Promise(setImmediate);
      return size;
    }
    const earlier = settled;
    settled = journal.settled();
    since = 0;
    await earlier;
    return size;
  };
}

function rates(what: string, size: number, { messages, ms, cpuUs }: Row): readonly string[] {
  return [`${what}, ${size} in a record`, thousands((messages / ms) * 1000), cpuUs.toFixed(3)];
}

/** Making the text alone, without journal and disk. */
function lineRate(size: number): readonly string[] {
  const event = published(1, size);
  const record = { ...event, v: 1, id: "rec_abcd00000001", seq: 1, time: "2026-11-24T09:30:12.114Z" } as const;
  const rounds = Math.ceil(2_000_000 / size);
  const start = performance.now();
  let length = 0;
  for (let at = 0; at < rounds; at++) length += recordLine(record).length;
  const ms = performance.now() - start;
  return [
    `text alone, ${size} in a record, ${Math.round(length / rounds / size)} characters each`,
    thousands(((rounds * size) / ms) * 1000),
    ((ms * 1000) / (rounds * size)).toFixed(3),
  ];
}

async function withJournal<T>(dir: string, use: (journal: Journal) => Promise<T>): Promise<T> {
  const options = { clock: { now: Date.now }, random: (bytes: number) => randomBytes(bytes) };
  const journal = await openJournal({ dir: join(dir, "journal"), ...options });
  try {
    return await use(journal);
  } finally {
    await journal.close();
  }
}

const sizes = [100, 500, 2000] as const;
const dir = mkdtempSync(join(base, "wayleave-bench-"));
try {
  console.log(`journal in ${base}\n${machine()}\n`);
  const rows: (readonly string[])[] = [["", "messages/s", "CPU us/message"]];
  for (const size of sizes) rows.push(lineRate(size));
  await withJournal(dir, async (journal) => {
    for (const size of sizes) rows.push(rates("durable", size, await measure(durable(journal, size))));
    await journal.settled();
    for (const size of sizes) rows.push(rates("noted", size, await measure(noted(journal, size))));
    await journal.settled();
  });
  rmSync(join(dir, "journal"), { recursive: true });
  await withJournal(dir, async (journal) => {
    const file = join(dir, "index.sqlite");
    const index = await openAuditIndex(file, journal);
    const before = process.memoryUsage().rss;
    const indexed = await measure(durable(journal, 2000));
    rows.push(rates("durable with the index", 2000, indexed));
    await journal.settled();
    const lag = journal.lastSeq - index.appliedSeq;
    const start = performance.now();
    await index.caughtUp(journal.lastSeq);
    const ms = performance.now() - start;
    console.log(table(rows));
    console.log(`
index: ${thousands(lag * 2000)} messages behind at the end, caught up in ${ms.toFixed(0)} ms
index: ${(statSync(file).size / indexed.messages).toFixed(2)} bytes a message, journal ${((journal.durable.offset / indexed.messages) * 1).toFixed(0)} (last segment)
memory: ${((process.memoryUsage().rss - before) / 2 ** 20).toFixed(0)} MiB more than before`);
    await index.close();
  });
} finally {
  rmSync(dir, { recursive: true });
}
