import { join } from "node:path";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { createJobClient, type JobClient } from "../demo/job-client.ts";
import { openJournal } from "../src/audit/journal.ts";
import type { AuditRecord } from "../src/core/record.ts";
import { seqOfId } from "../src/store/record-id.ts";
import {
  billing,
  type CrashCi,
  type LoadedJob,
  loadUntilKilled,
  type Promised,
  startCrashCi,
  startJob,
} from "./broker-crash-load.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { type BrokerProcess, startBrokerProcess } from "./broker-process.ts";
import { askEdge } from "./edge-question.ts";

const policy = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read-billing: { for: [shop], allow: { billing: ["GET /v1/invoices/**"] } }
`;

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

interface Crashes {
  readonly installation: BrokerInstallation;
  readonly ci: CrashCi;
  readonly client: JobClient;
  readonly promised: Promised[];
  readonly jobs: LoadedJob[];
}

async function install(durable: "within_50ms" | "before_answer"): Promise<Crashes> {
  const found: CrashCi[] = [];
  const installation = await installBroker({
    policy,
    durable,
    targets: ["billing"],
    ci: async (url) => {
      const started = await startCrashCi(url);
      found.push(started);
      return started.part;
    },
  });
  const [ci] = found;
  if (ci === undefined) throw new TypeError("the installation has a CI");
  const client = createJobClient(installation.url, "");
  cleanups.push(async () => {
    await client.close();
    await ci.gitlab.close();
    installation.remove();
  });
  return { installation, ci, client, promised: [], jobs: [] };
}

interface Round {
  /** The broker is killed when it has made so many promises. */
  readonly afterPromises: number;
  readonly ends: readonly LoadedJob["end"][];
}

const round = fc.record({
  afterPromises: fc.integer({ min: 1, max: 120 }),
  ends: fc.array(fc.constantFrom<LoadedJob["end"][]>("none", "client", "hook", "operator"), {
    minLength: 4,
    maxLength: 12,
  }),
});

/** Load upon load on one installation, each ended by kill -9, and after each restart questions about that load. */
async function crashAgainAndAgain(crashes: Crashes, rounds: readonly Round[]): Promise<void> {
  let broker = await startBrokerProcess(crashes.installation.configPath);
  cleanups.push(() => broker.kill("SIGKILL"));
  for (const one of rounds) broker = await crash(crashes, broker, one);
  for (const job of crashes.jobs.filter(({ ended }) => ended)) await expectRefused(crashes, job);
  await broker.kill("SIGKILL");
}

/** Resolves with the broker that took over; it was asked about everything of the load. */
async function crash(crashes: Crashes, broker: BrokerProcess, { afterPromises, ends }: Round): Promise<BrokerProcess> {
  const { installation, ci, promised, jobs } = crashes;
  let made = 0;
  let gone: Promise<void> | undefined;
  const onPromise = (one: Promised) => {
    promised.push(one);
    if (++made === afterPromises) gone = broker.kill("SIGKILL");
  };
  const loaded = await loadUntilKilled({ installation, ci, ends, onPromise, killed: () => gone !== undefined });
  await gone;
  jobs.push(...loaded);
  const restarted = await startBrokerProcess(installation.configPath);
  cleanups.push(() => restarted.kill("SIGKILL")); // also where an expectation fails
  for (const job of loaded) await expectRemembered(crashes, job);
  await expectPinned(crashes);
  return restarted;
}

/** Its token opens nothing again; its session is as it was left. */
async function expectRemembered(crashes: Crashes, loaded: LoadedJob): Promise<void> {
  const { installation, ci, client } = crashes;
  const { job, subjectToken, idempotencyKey, accessToken, end, ended } = loaded;
  expect((await client.exchange(subjectToken)).body.code).toBe("subject_token_replayed");
  if (ended) {
    await expectRefused(crashes, loaded);
    expect((await client.exchange(subjectToken, idempotencyKey)).body.code).toBe("session_ended");
    if (end === "client") return; // which says nothing of the job's other tokens
    const fresh = await ci.gitlab.idToken(job, { aud: installation.url });
    expect((await client.exchange(fresh)).body.code).toBe("job_over");
  } else if (end === "none") {
    const answer = await askEdge(installation, { ...billing, method: "GET", token: accessToken });
    expect([answer.status, answer.reason]).toEqual([200, "allowed"]);
  }
}

async function expectRefused({ installation }: Crashes, { accessToken, session }: LoadedJob): Promise<void> {
  const answer = await askEdge(installation, { ...billing, method: "GET", token: accessToken });
  expect([session, answer.status, answer.reason]).toEqual([session, 401, "session_ended"]);
}

/** The path is still pinned to the id it was first seen with. */
async function expectPinned({ installation, ci, client }: Crashes): Promise<void> {
  const claims = { project_id: "666", job_project_id: "666" };
  const stranger = await ci.gitlab.idToken(startJob(ci), { aud: installation.url, claims });
  expect((await client.exchange(stranger)).body.code).toBe("project_id_changed");
  await ci.gitlab.flush();
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
  const crashes = await install("before_answer");
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
  const crashes = await install("within_50ms");
  await crashAgainAndAgain(crashes, fc.sample(round, { numRuns: 5, seed: 50 }));
  const { promised } = crashes;
  const records = await allRecords(crashes);
  const gaps = [...records.values()].flatMap((record) => (record.kind === "audit.gap" ? [record.data] : []));
  expect(gaps.length).toBeGreaterThanOrEqual(5);
  const lost = promised.filter(({ record, kind }) => records.get(record)?.kind !== kind);
  expect(lost.filter(({ kind }) => kind !== "decision")).toEqual([]);
  for (const { record } of lost) {
    expect(records.has(record)).toBe(false);
    const seq = seqOfId(record) ?? 0;
    expect(gaps.some(({ after_seq, at_most }) => seq > after_seq && seq <= after_seq + at_most)).toBe(true);
  }
  expect(promised.length).toBeGreaterThan(lost.length);
});
