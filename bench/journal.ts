import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Journal, openJournal } from "../src/audit/journal.ts";
import { disk } from "../src/audit/segment-writer.ts";
import type { AuditEvent } from "../src/core/record.ts";
import { openAuditIndex } from "../src/store/audit-index.ts";
import { machine, percentile, thousands } from "./machine.ts";

/** What the journal and its index cost. Run alone: `node bench/journal.ts [directory on the disk to measure]`. */
const base = process.argv[2] ?? tmpdir();
const roundMs = 2000;

function decision(at: number): AuditEvent {
  return {
    kind: "decision",
    session: `ses_8f2k8f2k8f2k8f${10 + (Math.floor(at / 500) % 90)}`,
    job: {
      issuer: "gitlab",
      project_id: "1042",
      project: "acme/shop",
      pipeline_id: "88123",
      job_id: "7712",
      job_name: "release",
      ref: "feature/x",
    },
    trace: "4bf92f3577b34da6a3ce929d0e0e4736",
    data: {
      gateway: "edge-1",
      target: "billing",
      operation: `GET /v1/invoices/${at}`,
      host: "billing.internal",
      effect: "allow",
      outcome: "allow",
      reason: "allowed",
      rule: "read-billing",
      policy: "41c0aa1122334455",
    },
  };
}

function line(what: string, figure: string): void {
  console.log(`${what.padEnd(52)} ${figure.padStart(14)}`);
}

const rate = (count: number, ms: number, unit: string) => `${thousands((count / ms) * 1000)} ${unit}`;

let syncs = 0;
const counted = {
  ...disk,
  sync: (fd: number) => {
    syncs++;
    return disk.sync(fd);
  },
};

async function appendRate(journal: Journal, concurrency: number): Promise<void> {
  const start = performance.now();
  const before = syncs;
  const latencies: number[] = [];
  const one = async () => {
    for (let now = performance.now(); now - start < roundMs; ) {
      await journal.append([decision(latencies.length)]);
      const done = performance.now();
      latencies.push(done - now);
      now = done;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, one));
  const ms = performance.now() - start;
  latencies.sort((a, b) => a - b);
  const at = (part: number) => `${percentile(latencies, part).toFixed(2)} ms`;
  line(`append, ${concurrency} at once`, rate(latencies.length, ms, "/s"));
  line(`  p50 ${at(0.5)}, p99 ${at(0.99)}, records per sync`, (latencies.length / (syncs - before)).toFixed(1));
}

/** A turn of the event loop takes `perTurn` notes, as a server takes requests. */
async function noteRate(journal: Journal, perTurn: number): Promise<void> {
  const events = Array.from({ length: 1000 }, (_, at) => decision(at));
  const [first = decision(0)] = events;
  const cpu = process.cpuUsage();
  const start = performance.now();
  let noted = 0;
  let inNote = 0;
  let refused = 0;
  while (performance.now() - start < roundMs) {
    const began = performance.now();
    try {
      for (let at = 0; at < perTurn; at++) {
        journal.note(events[noted % 1000] ?? first);
        noted++;
      }
      inNote += performance.now() - began;
      await new Promise(setImmediate);
    } catch {
      refused++;
      await journal.settled();
    }
  }
  await journal.settled();
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  line(`note, ${perTurn} in a turn`, rate(noted, ms, "/s"));
  line("  in the call itself", `${((inNote / noted) * 1000).toFixed(2)} us`);
  line("  CPU of the process, with writing", `${((user + system) / noted).toFixed(2)} us`);
  if (refused > 0) line("  times the disk was too slow and it refused", String(refused));
}

async function indexRate(dir: string, journal: Journal): Promise<void> {
  const file = join(dir, "index.sqlite");
  const index = await openAuditIndex(file, journal);
  const start = performance.now();
  const from = index.appliedSeq;
  await index.caughtUp(journal.lastSeq);
  line("index, catching up", rate(journal.lastSeq - from, performance.now() - start, "rows/s"));
  line("  bytes per row", (statSync(file).size / journal.lastSeq).toFixed(0));
  const asked = performance.now();
  for (let at = 0; at < 200; at++) await index.query({ session: "ses_8f2k8f2k8f2k8f42", limit: 50 });
  line("  page of 50 of a session", `${((performance.now() - asked) / 200).toFixed(2)} ms`);
  const looked = performance.now();
  await index.query({ target: "none", limit: 50 });
  line(`  looking through all ${thousands(journal.lastSeq)}`, `${(performance.now() - looked).toFixed(0)} ms`);
  await index.close();
}

const dir = mkdtempSync(join(base, "wayleave-bench-"));
try {
  console.log(`journal in ${base}
${machine()}
`);
  const options = { clock: { now: Date.now }, random: (bytes: number) => randomBytes(bytes), disk: counted };
  let journal = await openJournal({ dir: join(dir, "journal"), ...options });
  for (const concurrency of [1, 64, 1024]) await appendRate(journal, concurrency);
  for (const perTurn of [1, 50]) await noteRate(journal, perTurn);
  await journal.close();
  const start = performance.now();
  journal = await openJournal({ dir: join(dir, "journal"), ...options });
  line("opening: every line checked", rate(journal.lastSeq, performance.now() - start, "records/s"));
  await indexRate(dir, journal);
  await journal.close();
} finally {
  rmSync(dir, { recursive: true });
}
