import type { NatsConnection } from "@nats-io/transport-node";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import type { AuditRecord } from "../src/core/record.ts";
import { type Connz, monitored } from "./nats-proof-admin.ts";
import { journalOf } from "./nats-proof-journal.ts";
import { type NatsJob, type NatsProof, startProof, until } from "./nats-proof-world.ts";

const policy = `version: 1
targets: { events: { nats: { account: CI, records: durable } } }
who: { load: { gitlab: { project: acme/load } } }
roles:
  load: { for: [load], allow: { events: ["pub load.*", "sub ask.*", "pub event.*"] } }
`;

/** Messages that reach the server between two kills. */
const rounds = fc.sample(fc.integer({ min: 1, max: 30_000 }), { numRuns: 5, seed: 4 });
const payload = "x".repeat(128);

/** What reached the server, as a user of the account saw it who does not come through the gateway. */
class Reached {
  /** By connection: number of the message to its subject. */
  readonly byConnection = new Map<string, Map<number, string>>();
  count = 0;
  twice = 0;
  #waiting: { readonly least: number; readonly wake: () => void } | undefined;

  constructor(witness: NatsConnection) {
    witness.subscribe("load.*", {
      callback: (_, { headers, subject }) => this.#take(headers?.get("Wayleave-Message") ?? "", subject),
    });
  }

  more(messages: number): Promise<void> {
    return new Promise((wake) => {
      this.#waiting = { least: this.count + messages, wake };
    });
  }

  #take(message: string, subject: string): void {
    const [connection = "", number = ""] = message.split(".");
    const known = this.byConnection.get(connection) ?? new Map<number, string>();
    if (known.has(Number(number))) this.twice++;
    this.byConnection.set(connection, known.set(Number(number), subject));
    this.count++;
    if (this.#waiting === undefined || this.count < this.#waiting.least) return;
    const { wake } = this.#waiting;
    this.#waiting = undefined;
    wake();
  }
}

/** A job that publishes without end, in batches, and comes back by itself after each crash with the password it had. */
class Publisher {
  readonly #client: NatsConnection;
  readonly #stopped: Promise<void>;
  #over = false;
  sent = 0;
  connects = 1;

  constructor(client: NatsConnection, subject: string) {
    this.#client = client;
    this.#stopped = this.#run(subject);
    void this.#follow();
  }

  async stop(): Promise<void> {
    this.#over = true;
    await this.#stopped;
    await this.#client.close();
  }

  async #run(subject: string): Promise<void> {
    while (!this.#over) {
      for (let n = 0; n < 500; n++) this.#client.publish(subject, payload);
      this.sent += 500;
      await this.#client.flush().catch(() => undefined); // the gateway died meanwhile
    }
  }

  async #follow(): Promise<void> {
    for await (const { type } of this.#client.status()) if (type === "reconnect") this.connects++;
  }
}

const comingBack = { reconnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 50, reconnectJitter: 10 };

test("killed with -9 under load, the gateway has forwarded nothing that is not in the journal", {
  timeout: 180_000,
}, async () => {
  const proof = await startProof({ policy, projects: ["acme/load"], process: true });
  onTestFinished(proof.close);
  const jobs = await Promise.all([1, 2, 3].map(() => proof.startJob("acme/load")));
  const over = await endedJob(proof);
  const clients = await Promise.all(jobs.map((job, at) => job.connect({ ...comingBack, name: `job-${at}` })));
  const witness = await proof.admin.connect("CI");
  const reached = new Reached(witness);
  await witness.flush();
  const publishers = clients.map((client, at) => new Publisher(client, `load.${at}`));
  onTestFinished(async () => void (await Promise.allSettled(publishers.map((each) => each.stop()))));

  const gone: string[] = [];
  for (const messages of rounds) {
    await reached.more(messages);
    gone.push(...(await jobConnections(proof)));
    await proof.world.killBroker();
    await until(async () => (await jobConnections(proof)).length === 0);
    const [connects, seen] = [publishers.map((each) => each.connects), reached.byConnection.size];
    await proof.world.startBroker();
    await until(() => publishers.every((each, at) => each.connects > (connects[at] ?? 0)));
    await until(() => reached.byConnection.size >= seen + publishers.length);
    await expect(over.connect()).rejects.toThrow(/session ended: the job ended it \d+ s ago/);
  }
  expect(new Set(gone).size).toBe(gone.length); // each left the server for good
  await Promise.all(publishers.map((each) => each.stop()));
  await witness.flush();
  await until(async () => (await jobConnections(proof)).length === 0);
  await witness.close();
  await proof.world.process?.stop();

  const rows = rowsOf(await journalOf(proof.world));
  const unrecorded = [...reached.byConnection].flatMap(([connection, messages]) =>
    [...messages].filter(([number, subject]) => rows.get(connection)?.get(number) !== subject),
  );
  expect(unrecorded).toEqual([]);
  expect(reached.twice).toBe(0);
  expect(reached.count).toBeGreaterThan(rounds.reduce((sum, each) => sum + each, 0));
  const ahead = [...rows].map(([connection, messages]) => messages.size - (reached.byConnection.get(connection)?.size ?? 0));
  const most = Math.max(...ahead);
  console.log(
    `${rounds.length} kills: ${reached.count.toLocaleString("en")} messages reached the server, each recorded; of one connection at most ${most} were recorded and had not reached it`,
  );
  // What one connection holds back while it is written, and what its socket takes.
  expect(most * 128).toBeLessThan(8 * 1_048_576);
  expect(sessionsOf(rows, await journalOf(proof.world))).toBe(jobs.length);
});

/** A job whose session ended before any crash. */
async function endedJob(proof: NatsProof): Promise<NatsJob> {
  const job = await proof.startJob("acme/load");
  await job.connect().then((client) => client.close());
  await job.ask("end");
  return job;
}

/** Connections of jobs that the server has. */
async function jobConnections({ world }: NatsProof): Promise<readonly string[]> {
  const { connections } = await monitored<Connz>(world, "connz");
  return connections.flatMap(({ name = "" }) => /\((nc_\w+)\)$/.exec(name)?.[1] ?? []);
}

/** By connection: number of each recorded message to its subject. */
function rowsOf(records: readonly AuditRecord[]): ReadonlyMap<string, ReadonlyMap<number, string>> {
  const rows = new Map<string, Map<number, string>>();
  for (const record of records) {
    if (record.kind !== "nats.published") continue;
    const { connection, first, messages } = record.data;
    const known = rows.get(connection) ?? new Map<number, string>();
    rows.set(connection, known);
    messages.forEach((row, at) => {
      if (known.has(first + at)) throw new Error(`message ${first + at} of ${connection} is recorded twice`);
      known.set(first + at, row.split(" ")[1] ?? "");
    });
  }
  return rows;
}

/** How many sessions the connections with messages belong to: after each crash the same ones. */
function sessionsOf(rows: ReadonlyMap<string, unknown>, records: readonly AuditRecord[]): number {
  const sessions = records.flatMap((record) =>
    record.kind === "nats.connected" && rows.has(record.data.connection) ? [record.session] : [],
  );
  return new Set(sessions).size;
}
