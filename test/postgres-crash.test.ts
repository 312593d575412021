import fc from "fast-check";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { AuditRecord } from "../src/core/record.ts";
import { type Crashes, crashAgainAndAgain, expectAccounted, installCrashes, round } from "./broker-crash-rounds.ts";
import { type PostgresServer, startPostgres, type TestDatabase } from "./postgres-server.ts";

/** How often each is tried; more in the night: `WAYLEAVE_POSTGRES_TRIALS=20`. */
const trials = Number(process.env.WAYLEAVE_POSTGRES_TRIALS ?? 4);
const seed = Number(process.env.WAYLEAVE_POSTGRES_SEED ?? 8);
console.log(`PostgreSQL crash trials: ${trials}, seed ${seed}`);

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.remove());

async function installed(
  durable: "within_50ms" | "before_answer",
  name: string,
): Promise<{ crashes: Crashes; database: TestDatabase }> {
  const database = await server.createDatabase(name);
  const crashes = await installCrashes({ durable, database });
  onTestFinished(() => crashes.close());
  return { crashes, database };
}

async function allRecords({ name }: TestDatabase): Promise<ReadonlyMap<string, AuditRecord>> {
  const rows = await server.admin(name, "select json from record order by seq");
  const records = rows.map(({ json }) => JSON.parse(String(json)) as AuditRecord);
  return new Map(records.map((record) => [record.id, record]));
}

test("a broker killed with -9 under load loses no acknowledged record and revives no ended session", async () => {
  const { crashes, database } = await installed("before_answer", "killed");
  await crashAgainAndAgain(crashes, fc.sample(round, { numRuns: trials, seed }));
  const { promised } = crashes;
  expect(promised.length).toBeGreaterThan(trials * 20);
  const records = await allRecords(database);
  expect(promised.filter(({ record, kind }) => records.get(record)?.kind !== kind)).toEqual([]);
});
