import fc from "fast-check";
import { expect } from "vitest";
import { createJobClient, type JobClient } from "../demo/job-client.ts";
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
import { type BrokerInstallation, type BrokerInstallationOptions, installBroker } from "./broker-installation.ts";
import { type BrokerProcess, startBrokerProcess } from "./broker-process.ts";
import { askEdge } from "./edge-question.ts";

const policy = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read-billing: { for: [shop], allow: { billing: ["GET /v1/invoices/**"] } }
`;

/** A broker's folder, its CI, and everything that was promised in it. */
export interface Crashes {
  readonly installation: BrokerInstallation;
  readonly ci: CrashCi;
  readonly client: JobClient;
  readonly promised: Promised[];
  readonly jobs: LoadedJob[];
  /** Ends everything. */
  close(): Promise<void>;
}

export async function installCrashes(
  options: Pick<BrokerInstallationOptions, "durable" | "database">,
): Promise<Crashes> {
  const found: CrashCi[] = [];
  const installation = await installBroker({
    policy,
    ...options,
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
  const close = async () => {
    await client.close();
    await ci.gitlab.close();
    installation.remove();
  };
  return { installation, ci, client, promised: [], jobs: [], close };
}

export interface Round {
  /** The broker is killed when it has made so many promises. */
  readonly afterPromises: number;
  readonly ends: readonly LoadedJob["end"][];
}

export const round = fc.record({
  afterPromises: fc.integer({ min: 1, max: 120 }),
  ends: fc.array(fc.constantFrom<LoadedJob["end"][]>("none", "client", "hook", "operator"), {
    minLength: 4,
    maxLength: 12,
  }),
});

/** Load upon load on one installation, each ended by kill -9, and after each restart questions about that load. */
export async function crashAgainAndAgain(crashes: Crashes, rounds: readonly Round[]): Promise<void> {
  const broker = { running: await startBrokerProcess(crashes.installation.configPath) };
  try {
    for (const one of rounds) await crash(crashes, broker, one);
    for (const job of crashes.jobs.filter(({ ended }) => ended)) await expectRefused(crashes, job);
  } finally {
    await broker.running.kill("SIGKILL"); // also where an expectation fails
  }
}

/** Afterwards the broker is the one that took over, and was asked about everything of the load. */
async function crash(
  crashes: Crashes,
  broker: { running: BrokerProcess },
  { afterPromises, ends }: Round,
): Promise<void> {
  const { installation, ci, promised, jobs } = crashes;
  let made = 0;
  let gone: Promise<void> | undefined;
  const onPromise = (one: Promised) => {
    promised.push(one);
    if (++made === afterPromises) gone = broker.running.kill("SIGKILL");
  };
  const loaded = await loadUntilKilled({ installation, ci, ends, onPromise, killed: () => gone !== undefined });
  await gone;
  jobs.push(...loaded);
  broker.running = await startBrokerProcess(installation.configPath);
  for (const job of loaded) await expectRemembered(crashes, job);
  await expectPinned(crashes);
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

/** What was lost is no session, and each of it is accounted for by a gap. */
export function expectAccounted(promised: readonly Promised[], records: ReadonlyMap<string, AuditRecord>): void {
  const gaps = [...records.values()].flatMap((record) => (record.kind === "audit.gap" ? [record.data] : []));
  const lost = promised.filter(({ record, kind }) => records.get(record)?.kind !== kind);
  expect(lost.filter(({ kind }) => kind !== "decision")).toEqual([]);
  for (const { record } of lost) {
    expect(records.has(record)).toBe(false);
    const seq = seqOfId(record) ?? 0;
    expect(gaps.some(({ after_seq, at_most }) => seq > after_seq && seq <= after_seq + at_most)).toBe(true);
  }
  expect(promised.length).toBeGreaterThan(lost.length);
}
