import fc from "fast-check";
import { request } from "undici";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { AuditRecord } from "../src/core/record.ts";
import { billing, type LoadedJob, loadUntilKilled, type Promised, startJob } from "./broker-crash-load.ts";
import { type Crashes, crashAgainAndAgain, expectAccounted, installCrashes, round } from "./broker-crash-rounds.ts";
import { startBrokerProcess } from "./broker-process.ts";
import { askEdge } from "./edge-question.ts";
import { type PostgresServer, startPostgres, type TestDatabase } from "./postgres-server.ts";

/** How often each is tried; more in the night: `WAYLEAVE_POSTGRES_TRIALS=20`. */
const trials = Number(process.env.WAYLEAVE_POSTGRES_TRIALS ?? 2);
const seed = Number(process.env.WAYLEAVE_POSTGRES_SEED ?? 8);

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

test(`a broker killed with -9 under load loses no acknowledged record and revives no ended session (seed ${seed})`, async () => {
  const { crashes, database } = await installed("before_answer", "killed");
  await crashAgainAndAgain(crashes, fc.sample(round, { numRuns: trials, seed }));
  const { promised } = crashes;
  expect(promised.length).toBeGreaterThan(trials * 20);
  const records = await allRecords(database);
  expect(promised.filter(({ record, kind }) => records.get(record)?.kind !== kind)).toEqual([]);
});

test("a database killed with -9 is an outage and no denial; the broker goes on by itself and has lost nothing", async () => {
  const { crashes, database } = await installed("within_50ms", "outlived");
  const { installation, ci, client } = crashes;
  const broker = await startBrokerProcess(installation.configPath);
  onTestFinished(() => broker.kill("SIGKILL"));
  const promised: Promised[] = [];
  const jobs: LoadedJob[] = [];
  for (let trial = 0; trial < trials / 2; trial++) {
    let gone: Promise<void> | undefined;
    const onPromise = (one: Promised) => {
      promised.push(one);
      if (promised.length === (trial + 1) * 40) gone = server.kill();
    };
    const ends = ["none", "client", "operator"] as const;
    jobs.push(...(await loadUntilKilled({ installation, ci, ends, onPromise, killed: () => gone !== undefined })));
    await gone;
    await expectOutage(crashes, jobs);
    await server.start();
    await readyAgain(installation.url);
    const fresh = await ci.gitlab.idToken(startJob(ci), { aud: installation.url });
    expect((await client.exchange(fresh)).status).toBe(200);
    for (const { accessToken, session, ended } of jobs.filter((job) => job.ended)) {
      const answer = await askEdge(installation, { ...billing, method: "GET", token: accessToken });
      expect([session, ended, answer.status, answer.reason]).toEqual([session, true, 401, "session_ended"]);
    }
  }
  await broker.kill("SIGTERM"); // in order: what was noted is written
  expectAccounted(promised, await allRecords(database));
});

/** Nothing is opened or allowed, and it is said that this is nobody's decision. */
async function expectOutage({ installation, ci, client }: Crashes, jobs: readonly LoadedJob[]): Promise<void> {
  const fresh = await ci.gitlab.idToken(startJob(ci), { aud: installation.url });
  const exchange = await client.exchange(fresh);
  expect([exchange.status, exchange.body.code]).toEqual([503, "store_unavailable"]);
  const job = jobs.find(({ end }) => end === "none");
  const answer = await askEdge(installation, { ...billing, method: "GET", token: job?.accessToken ?? "" });
  expect([answer.status, answer.reason]).toEqual([503, "outage"]);
  const { statusCode, body } = await request(`${installation.url}/readyz`);
  await body.dump();
  expect(statusCode).toBe(503);
}

async function readyAgain(url: string): Promise<void> {
  for (;;) {
    const { statusCode, body } = await request(`${url}/readyz`);
    await body.dump();
    if (statusCode === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
