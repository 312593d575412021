import { join } from "node:path";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { openJournal } from "../src/audit/journal.ts";
import type { AuditRecord } from "../src/core/record.ts";
import { type Crashes, crashAgainAndAgain, expectAccounted, installCrashes, round } from "./broker-crash-rounds.ts";

async function installed(durable: "within_50ms" | "before_answer"): Promise<Crashes> {
  const crashes = await installCrashes({ durable });
  onTestFinished(() => crashes.close());
  return crashes;
}

async function allRecords({ installation }: Crashes): Promise<ReadonlyMap<string, AuditRecord>> {
  const random = (bytes: number) => new Uint8Array(bytes);
  const journal = await openJournal({ dir: join(installation.dataDir, "journal"), clock: { now: Date.now }, random });
  const records = new Map<string, AuditRecord>();
  for await (const record of journal.replay(1)) records.set(record.id, record);
  await journal.close();
  return records;
}

test("a broker killed with -9 under 20 loads loses no acknowledged record and revives no ended session", async () => {
  const crashes = await installed("before_answer");
  await crashAgainAndAgain(crashes, fc.sample(round, { numRuns: 20, seed: 8 }));
  const { promised, jobs } = crashes;
  expect(promised.length).toBeGreaterThan(1000);
  for (const end of ["client", "hook", "operator"]) {
    expect(jobs.filter((job) => job.end === end && job.ended).length).toBeGreaterThan(10);
  }
  const records = await allRecords(crashes);
  expect(promised.filter(({ record, kind }) => records.get(record)?.kind !== kind)).toEqual([]);
}, 180_000);

test("where decisions are durable within 50 ms, every one lost in a crash is accounted for by a gap", async () => {
  const crashes = await installed("within_50ms");
  await crashAgainAndAgain(crashes, fc.sample(round, { numRuns: 5, seed: 50 }));
  const { promised } = crashes;
  const records = await allRecords(crashes);
  const gaps = [...records.values()].flatMap((record) => (record.kind === "audit.gap" ? [record.data] : []));
  expect(gaps.length).toBeGreaterThanOrEqual(5);
  expectAccounted(promised, records);
});
