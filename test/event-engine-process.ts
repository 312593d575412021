import { appendFileSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { connect } from "@nats-io/transport-node";
import { gitlabStarter } from "../src/ci/gitlab/start-pipeline.ts";
import type { EventRecord } from "../src/core/event-record.ts";
import { CauseTable } from "../src/events/cause-table.ts";
import { createEventConsumers } from "../src/events/consumers.ts";
import { createEventEngine } from "../src/events/engine.ts";
import { deployImage, headerOf, jobIdentity, sessionId } from "../src/events/event-world.fake.ts";
import { openJetStreamSource } from "../src/events/jetstream-source.ts";
import type { Delivery, EventDeps, EventSource } from "../src/events/ports.ts";

/** What the engine of a test is started with, as JSON in its first argument. */
export interface EngineProcessOptions {
  readonly nats: string;
  readonly gitlab: string;
  readonly triggerToken: string;
  readonly readToken: string;
  readonly stream: string;
  /** Lines of JSON, each durable before it counts. */
  readonly journal: string;
  /** When the test began: everything runs `speed` times as fast from then on. */
  readonly startedAt: number;
  readonly speed: number;
  /** SIGKILL by its own hand after so many steps; 0: never. */
  readonly dieAfter: number;
}

const options = JSON.parse(process.argv[2] ?? "{}") as EngineProcessOptions;
const { startedAt, speed } = options;
const now = (): number => startedAt + (Date.now() - startedAt) * speed;

let steps = 0;
function step(): void {
  steps += 1;
  if (steps === options.dieAfter) process.kill(process.pid, "SIGKILL");
}

const event = deployImage({
  on: { target: "events", account: "CI", stream: options.stream, subject: "image.pushed.*" },
  limit: { max: 1000, windowMs: 60_000 },
});
const table = new CauseTable();
const records: EventRecord[] = existsSync(options.journal)
  ? readFileSync(options.journal, "utf8")
      .split("\n")
      .filter((line) => line.endsWith("}"))
      .map((line) => JSON.parse(line) as EventRecord)
  : [];
for (const record of records) table.apply(record);
const journal = openSync(options.journal, "a");

/** A kill may leave half a line behind. */
appendFileSync(options.journal, "\n");

const deps: EventDeps = {
  now,
  random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
  recorder: {
    async append(events) {
      step();
      const written = events.map((event, at) => {
        const id = `rec_test${String(records.length + at + 1).padStart(8, "0")}`;
        return { ...event, id, time: new Date(now()).toISOString() };
      });
      writeSync(journal, written.map((record) => `${JSON.stringify(record)}\n`).join(""));
      fsyncSync(journal);
      step();
      records.push(...written);
      return written;
    },
  },
  identityHeader: headerOf,
  policyVersion: () => "41c0aa",
  rule: (name) => (name === event.name ? event : undefined),
  async session(id) {
    const view = {
      id: sessionId,
      identity: jobIdentity(),
      state: "active" as const,
      openedAt: startedAt - 60_000,
      hardEndAt: startedAt + 86_400_000,
    };
    return id === sessionId ? { view, facts: {} } : undefined;
  },
  starter: () => starter,
  onFault: (error) => void process.stderr.write(`${String(error)}\n`),
};

const dying: typeof fetch = async (input, init) => {
  step();
  const response = await fetch(input, init);
  step();
  return response;
};
const starter = gitlabStarter({
  baseUrl: `${options.gitlab}/api/v4`,
  triggerTokens: { "acme/deploy": options.triggerToken },
  readToken: options.readToken,
  fetch: dying,
  timeoutMs: 5000,
  now,
});

/** As fast as the clock. */
function quickened(source: EventSource): EventSource {
  return {
    ...source,
    async next() {
      const delivery = await source.next();
      if (delivery === undefined) return undefined;
      const quick: Delivery = {
        ...delivery,
        async ack() {
          step();
          const confirmed = await delivery.ack();
          process.stdout.write(`ack ${delivery.sequence}\n`);
          return confirmed;
        },
        nak: (afterMs) => delivery.nak(afterMs / speed),
        term(reason) {
          delivery.term(reason);
          process.stdout.write(`term ${delivery.sequence} ${reason}\n`);
        },
      };
      return quick;
    },
  };
}

const connection = await connect({ servers: options.nats, user: "broker", pass: "broker" });
const consumers = createEventConsumers({
  engine: createEventEngine(deps, table),
  table,
  rules: () => [event],
  async open(rule, resumeFrom, onExhausted) {
    const source = await openJetStreamSource({
      connection,
      event: rule.name,
      stream: rule.on.stream,
      subject: rule.on.subject,
      ackWaitMs: 1000,
      maxDeliver: 100,
      resumeFrom,
      onExhausted,
      onFault: deps.onFault,
    });
    process.stdout.write("ready\n");
    return quickened(source);
  },
  workingMs: 300,
  pause: (ms, signal) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms / speed);
      const stop = () => {
        clearTimeout(timer);
        resolve();
      };
      signal.addEventListener("abort", stop, { once: true });
    }),
  onFault: deps.onFault,
});
await consumers.reconcile();
process.once("SIGTERM", () => void consumers.stop().then(() => connection.close()));
