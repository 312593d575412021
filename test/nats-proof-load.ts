import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import type { NatsProof } from "./nats-proof-world.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));

/** What a client itself says it sent and received. */
export interface ClientCount {
  readonly published: number;
  readonly delivered: number;
}

/** Clients of one proof by name: each is a job of its own. */
export class LoadClients {
  readonly counts = new Map<string, ClientCount>();
  readonly #proof: NatsProof;
  readonly #open = new Map<string, NatsConnection>();

  constructor(proof: NatsProof) {
    this.#proof = proof;
  }

  async open(name: string): Promise<NatsConnection> {
    const job = await this.#proof.startJob("acme/load");
    const client = await job.connect({ name, timeout: 20_000 });
    this.#open.set(name, client);
    return client;
  }

  /** Closes all of them, when everything of theirs has been answered. */
  async close(): Promise<void> {
    for (const [name, client] of this.#open) {
      await client.drain();
      const { outMsgs, inMsgs } = client.stats();
      this.counts.set(name, { published: outMsgs, delivered: inMsgs });
    }
  }

  /** nats-py as its users have it. */
  async python(name: string, bulk: number): Promise<unknown> {
    const job = await this.#proof.startJob("acme/load");
    const { url, user, password = "" } = await job.credential();
    const script = fileURLToPath(new URL("nats-proof-client.py", import.meta.url));
    const { stdout } = await run("python3", [script, url, user, password, name, String(bulk)], {
      env: { ...process.env, PYTHONPATH: `${root}/.cache/test-clients` },
      timeout: 100_000,
    });
    const { stats, ...said } = JSON.parse(stdout) as { stats: Readonly<Record<string, number>> };
    this.counts.set(name, { published: stats.out_msgs ?? 0, delivered: stats.in_msgs ?? 0 });
    return said;
  }
}

/** Counts, and wakes who waits for a number. */
export class Meter {
  count = 0;
  #waiting: { readonly least: number; readonly wake: () => void } | undefined;

  add(): void {
    this.count++;
    if (this.#waiting === undefined || this.count < this.#waiting.least) return;
    const { wake } = this.#waiting;
    this.#waiting = undefined;
    wake();
  }

  /** Resolves when the count is at least so much. One at a time waits. */
  reached(least: number): Promise<void> {
    if (this.count >= least) return Promise.resolve();
    return new Promise((wake) => {
      this.#waiting = { least, wake };
    });
  }
}

/** So far a publisher may be ahead of whoever listens: nats-server drops a listener that is too far behind. */
const ahead = 50_000;
const turn = 10_000;

/** Publishes `total` messages that say their own number, as fast as the listener takes them. */
export async function bulk(
  client: NatsConnection,
  total: number,
  subject: (number: number) => string,
  heard: Meter,
  withHeaders = false,
): Promise<void> {
  const filler = "x".repeat(118);
  for (let sent = 0; sent < total; ) {
    const end = Math.min(total, sent + turn);
    for (; sent < end; sent++) {
      const payload = `${String(sent).padStart(10, "0")}${filler}`;
      if (withHeaders) client.publish(subject(sent), payload, { headers: headersOf(sent) });
      else client.publish(subject(sent), payload);
    }
    await client.flush();
    await heard.reached(sent - ahead);
  }
  await heard.reached(total);
}

function headersOf(number: number) {
  const said = headers();
  said.set("Number", String(number));
  said.set("Content-Type", "text/plain");
  return said;
}

/** Listens to messages of `bulk`: in order, none lost, none twice. Gives what was wrong. */
export function listenInOrder(client: NatsConnection, subject: string, heard: Meter): readonly string[] {
  const wrong: string[] = [];
  client.subscribe(subject, {
    callback: (error, message) => {
      const number = Number(Buffer.from(message.data.buffer, message.data.byteOffset, 10).toString("latin1"));
      const expected = error === null && message.data.length === 128 ? heard.count : -1;
      if (number !== expected && wrong.length < 10) wrong.push(`${number} where ${heard.count} was due: ${error}`);
      heard.add();
    },
  });
  return wrong;
}

/** The streams of the test, made by an administrator. */
export async function makeStreams(admin: NatsConnection): Promise<void> {
  const manager = await jetstreamManager(admin);
  for (const [name, subject, consumer] of [
    ["LOAD", "event.load", "worker"],
    ["PYTHON", "event.python", "python"],
  ] as const) {
    await manager.streams.add({ name, subjects: [subject] });
    await manager.consumers.add(name, { durable_name: consumer, ack_policy: AckPolicy.Explicit });
  }
}

/** `total` requests, a hundred at once. */
export async function askAll(client: NatsConnection, subject: string, total: number): Promise<void> {
  let asked = 0;
  const one = async () => {
    while (asked < total) {
      const number = String(asked++);
      const answer = await client.request(subject, number, { timeout: 30_000 });
      if (answer.string() !== `${number}!`) throw new Error(`asked ${number}, got ${answer.string()}`);
    }
  };
  await Promise.all(Array.from({ length: 100 }, one));
}

/** Stores so many events, two hundred at once. */
export async function storeAll(client: NatsConnection, subject: string, total: number): Promise<void> {
  const stream = jetstream(client);
  let stored = 0;
  const one = async () => {
    while (stored < total) {
      const number = stored++;
      await stream.publish(subject, String(number), { msgID: `m${number}`, timeout: 30_000 });
    }
  };
  await Promise.all(Array.from({ length: 200 }, one));
}

/** Fetches and acknowledges so many. */
export async function fetchAll(client: NatsConnection, total: number): Promise<number> {
  const consumer = await jetstream(client).consumers.get("LOAD", "worker");
  const seen = new Set<string>();
  while (seen.size < total) {
    for await (const message of await consumer.fetch({ max_messages: 500, expires: 10_000 })) {
      seen.add(message.string());
      message.ack();
      if (seen.size === total) break;
    }
  }
  return seen.size;
}
