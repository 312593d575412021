import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { GatewaySummary } from "../src/gateway/gateway-summary.ts";
import { type BrokerProcess, startBrokerProcess } from "./broker-process.ts";
import { oneConnection } from "./mesh-calls.ts";
import { type MeshJob, type MeshLab, startMeshLab } from "./mesh-lab.ts";
import { askOperator } from "./operator.ts";

/** How soon the end of a session is an end at NGINX and at a native Envoy behind it, and what is left of both without a broker. */
let lab: MeshLab;
afterEach(() => lab?.close());

type Hop = "edge" | "sidecar";

/** One busy connection. */
interface Lane {
  readonly hop: Hop;
  readonly job: MeshJob;
  /** Of every answer, in order, and when it was asked for and came. */
  readonly answers: { readonly status: number; readonly sent: number; readonly came: number }[];
  readonly opened: () => number;
}

describe("sessions that end while 64 connections are busy", () => {
  /** Of an Envoy that hears nothing: the bound that is published. */
  const revocationTtlMs = 15_000;
  beforeEach(async () => {
    lab = await startMeshLab({ mesh: { revocationTtlMs } });
  });

  test("are refused at either hop from then on, and the others never", async () => {
    const jobs = await Promise.all(Array.from({ length: 32 }, () => lab.openJob()));
    const load = busy(jobs);
    await load.warm();
    const ends = new Map<string, number>();
    const ending = jobs.filter((_, at) => at % 4 !== 0);
    for (let at = 0; at < ending.length; at += 3) {
      await Promise.all(
        ending.slice(at, at + 3).map(async ({ session }) => {
          const { status } = await askOperator(lab.world, "POST", `/v1/sessions/${session}/end`, { because: "a test" });
          expect(status).toBe(200);
          ends.set(session, performance.now());
        }),
      );
      await load.untilRefused(ending.slice(at, at + 3));
    }
    const lanes = await load.stop();

    for (const { answers, job, opened } of lanes) {
      expect(opened()).toBe(1);
      if (!ends.has(job.session)) expect(statuses(answers)).toMatch(/^200( 200)*$/);
    }
    for (const hop of ["edge", "sidecar"] as const) {
      const ended = lanes.filter((lane) => lane.hop === hop && ends.has(lane.job.session));
      const delays = ended.map((lane) => endOf(lane, ends.get(lane.job.session) ?? 0, revocationTtlMs));
      expect(delays).toHaveLength(24);
      print(summary(hop, delays));
    }
  });
});

const statuses = (answers: Lane["answers"]) => answers.map(({ status }) => status).join(" ");

/** How long after its end a session was first refused, ms. What was on its way at NGINX may still be refused behind it. */
function endOf({ hop, answers }: Lane, endedAt: number, boundMs: number): number {
  expect(statuses(answers)).toMatch(hop === "edge" ? /^200( 200)*( 403)?( 401)+$/ : /^200( 200)*( 403)+$/);
  const lastServed = answers.findLast(({ status }) => status === 200)?.sent ?? 0;
  // Whoever asks knows at once; whoever does not, within what is published.
  expect(lastServed - endedAt).toBeLessThan(hop === "edge" ? 0 : boundMs);
  return (answers.find(({ status }) => status !== 200)?.came ?? Number.NaN) - endedAt;
}

const print = (line: string) => process.stdout.write(`${line}\n`);

/** Two connections for each job: one to NGINX with its token, one past it with the newest assertion of its own. */
function busy(jobs: readonly MeshJob[]) {
  const assertions = new Map<string, string>();
  const agents: ReturnType<typeof oneConnection>[] = [];
  let over = false;
  const lanes: Lane[] = jobs.flatMap((job) =>
    (["edge", "sidecar"] as const).map((hop) => {
      const connection = oneConnection();
      agents.push(connection);
      return { hop, job, answers: [], opened: connection.opened };
    }),
  );
  const ask = ({ hop, job }: Lane, at: number) => {
    const through = agents[at]?.agent;
    if (through === undefined) throw new TypeError("each lane has a connection");
    const path = `/v1/invoices/${job.job.id}`;
    if (hop === "edge") return lab.atEdge(job.token, { path: `${path}?edge`, through });
    return lab.atSidecar(assertions.get(job.session) ?? "", { path, through });
  };
  const keepAssertion = ({ session, job }: MeshJob) => {
    const found = lab.world.upstream.served.findLast(({ url }) => url === `/v1/invoices/${job.id}?edge`);
    assertions.set(session, String(found?.headers["txn-token"]));
  };
  const run = async (lane: Lane, at: number): Promise<void> => {
    while (!over) {
      const sent = performance.now();
      const { status } = await ask(lane, at);
      lane.answers.push({ status, sent, came: performance.now() });
      if (lane.hop === "edge" && status === 200) keepAssertion(lane.job);
    }
  };
  let running: Promise<unknown> = Promise.resolve();
  const until = async (true_: () => boolean) => {
    while (!true_()) await Promise.race([running, new Promise(setImmediate)]);
  };
  return {
    async warm() {
      for (const [at, lane] of lanes.entries()) {
        if (lane.hop !== "edge") continue;
        expect((await ask(lane, at)).status).toBe(200);
        keepAssertion(lane.job);
      }
      running = Promise.all(lanes.map(run));
      running.catch(() => undefined); // awaited below, where its failure counts
      await until(() => lanes.every(({ answers }) => answers.length >= 3));
    },
    untilRefused: (some: readonly MeshJob[]) =>
      until(() => lanes.filter(({ job }) => some.includes(job)).every(({ answers }) => answers.at(-1)?.status !== 200)),
    async stop() {
      over = true;
      await running;
      for (const { agent } of agents) agent.destroy();
      return lanes;
    },
  };
}

function summary(hop: string, delays: readonly number[]): string {
  const sorted = delays.toSorted((a, b) => a - b);
  const at = (share: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(1);
  return `end of session → refused at ${hop}, 64 busy connections: n=${sorted.length}, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms`;
}

describe("a broker that is killed", () => {
  const revocationTtlMs = 2_000;
  let broker: BrokerProcess | undefined;
  beforeEach(async () => {
    lab = await startMeshLab({ mesh: { revocationTtlMs } });
  });
  afterEach(() => broker?.kill("SIGKILL"));

  test("leaves NGINX an outage and Envoy what it knows until that runs out; back, it serves, and what ended stays ended", async () => {
    await lab.world.stopBroker();
    broker = await startBrokerProcess(lab.world.configPath);
    await expect.poll(acknowledged, { timeout: 40_000 }).toBe(true);
    const path = "/v1/invoices/42";
    const [job, ended] = [await lab.openJob(), await lab.openJob()];
    const edge = ({ token }: MeshJob) => lab.atEdge(token, { path });
    const sidecar = (assertion: string) => lab.atSidecar(assertion, { path });
    const back = async () => {
      const since = performance.now();
      await expect.poll(async () => (await edge(job)).status, { timeout: 40_000, interval: 50 }).toBe(200);
      return performance.now() - since;
    };
    await back();
    const stolen = await lab.assertionFor(ended.token, path);
    expect((await sidecar(stolen)).status).toBe(200);
    lab.ci.gitlab.succeedJob(ended.job);
    await lab.ci.gitlab.flush();
    await expect.poll(async () => (await sidecar(stolen)).status).toBe(403);
    const assertion = await lab.assertionFor(job.token, path);

    await broker.kill("SIGKILL");
    const died = performance.now();
    const outage = await edge(job);
    expect([outage.status, JSON.parse(outage.body).code]).toEqual([503, "outage"]);
    expect((await edge(ended)).status).toBe(503);
    const answers: { readonly status: number; readonly after: number }[] = [];
    do {
      const { status } = await sidecar(assertion);
      answers.push({ status, after: performance.now() - died });
      expect((await sidecar(stolen)).status).toBe(403);
    } while (answers.at(-1)?.status === 200);
    const lastServed = answers.at(-2)?.after ?? 0;
    print(`broker killed → sidecar refuses by itself: ${answers.at(-1)?.after.toFixed(0)} ms of ${revocationTtlMs} ms`);
    expect(answers.length).toBeGreaterThan(1);
    expect(lastServed).toBeLessThan(revocationTtlMs);
    expect((await sidecar(assertion)).status).toBe(403);

    broker = await startBrokerProcess(lab.world.configPath);
    print(`broker listens again → served again through both hops: ${(await back()).toFixed(0)} ms`);
    expect((await sidecar(await lab.assertionFor(job.token, path))).status).toBe(200);
    expect((await edge(ended)).status).toBe(401);
    expect((await sidecar(stolen)).status).toBe(403);
  });
});

/** True once the sidecar has taken what this broker, not an earlier one, told it. */
async function acknowledged(): Promise<boolean> {
  const { body } = await askOperator<{ gateways: readonly GatewaySummary[] }>(lab.world, "GET", "/v1/gateways");
  return body.gateways.some(({ name, acknowledged_seconds: age }) => name === "billing-sidecar" && age !== undefined);
}
