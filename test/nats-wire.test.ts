import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { natsServerVersion, type RunningNatsServer, startNatsServer } from "../demo/nats-server.ts";
import { ClientReader } from "../src/gateway/nats/client-reader.ts";
import { HeaderCleaner } from "../src/gateway/nats/header-block.ts";
import { identityLines, OpWriter } from "../src/gateway/nats/op-writer.ts";
import type { ClientOps, PublishOp, WireViolation } from "../src/gateway/nats/wire.ts";
import { RawNatsClient } from "./nats-raw-client.ts";
import { fuzzLimits, HostileStreams } from "./nats-wire-streams.ts";

/** Another seed, more operations: `WAYLEAVE_FUZZ_SEED=7 WAYLEAVE_FUZZ_OPERATIONS=20000000`. */
const seed = Number(process.env.WAYLEAVE_FUZZ_SEED ?? 20_261_130);
const operations = Number(process.env.WAYLEAVE_FUZZ_OPERATIONS ?? 1_000_000);

const config = `
accounts {
  PIPE: { users: [ { user: pipe, password: pipe } ] }
  RAW: { users: [ { user: raw, password: raw } ] }
}
`;

let directory: string;
let server: RunningNatsServer;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "wayleave-nats-wire-"));
  await writeFile(join(directory, "nats.conf"), config);
  server = await startNatsServer({ directory, config: "nats.conf", args: ["-m", "-1"] });
});
afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true });
});

const identity = identityLines("fuzz", "nc_fuzz");

/** What a connection does with a client's stream, policy apart, and what the reader told of it. */
class Pipe implements ClientOps {
  readonly writer = new OpWriter();
  readonly #cleaner = new HeaderCleaner({ prefix: "session" });
  readonly subscriptions = new Map<string, string>();
  /** What the server must understand, as `RawNatsClient` writes it. */
  sent: string[] = [];
  /** What the reader told of the messages of this stream, their headers as the client wrote them. */
  told: string[] = [];
  readonly violations = new Map<string, number>();
  violated = false;
  lastSubject = "";
  pings = 0;
  published = 0;
  refusedHeaders = 0;

  begin(): void {
    this.told = [];
    this.violated = false;
    this.lastSubject = "";
  }

  publish(op: PublishOp): void {
    const { subject, reply, buffer, headerStart, headerEnd, payloadEnd } = op;
    const payload = buffer.toString("latin1", headerEnd, payloadEnd);
    this.told.push(`${subject}\n${reply}\n${buffer.toString("latin1", headerStart, headerEnd)}\n${payload}`);
    this.lastSubject = subject;
    let lines = "";
    const headers = headerEnd > headerStart;
    if (headers) {
      if (this.#cleaner.clean(buffer, headerStart, headerEnd) !== undefined) {
        this.refusedHeaders++;
        return;
      }
      const { buffer: from, start, end } = this.#cleaner.lines;
      lines = from.toString("latin1", start, end);
    }
    const number = ++this.published;
    const block = `NATS/1.0\r\nWayleave-Job: fuzz\r\nWayleave-Message: nc_fuzz.${number}\r\n${lines}\r\n`;
    this.sent.push(`${subject}\n${reply}\n${block}\n${payload}`);
    const size = this.writer.publish(op, subject, reply, identity, number, headers ? this.#cleaner.lines : undefined);
    if (size.headerBytes !== block.length || size.totalBytes !== block.length + payload.length) {
      throw new Error(`sizes of message ${number} are told wrongly`);
    }
  }

  subscribe(subject: string, queue: string, sid: string): void {
    if (this.subscriptions.has(sid)) return; // a connection refuses it
    this.subscriptions.set(sid, `${subject} ${queue}`);
    this.writer.subscribe(subject, queue, sid);
  }

  unsubscribe(sid: string, max: number): void {
    if (max === 0) this.subscriptions.delete(sid);
    this.writer.unsubscribe(sid, max);
  }

  ping(): void {
    this.pings++;
    this.writer.ping();
  }

  pong(): void {
    this.writer.pong();
  }

  connect(): void {
    throw new Error("no stream holds a CONNECT");
  }

  violation({ code }: WireViolation): void {
    this.violated = true;
    this.violations.set(code, (this.violations.get(code) ?? 0) + 1);
  }
}

/** Whatever these say in a header block after our own two lines, the server or a receiver would act upon. */
const forbidden =
  /\r\n(?:wayleave[-_.]|nats[-_.](?:request|trace|rollup|schedul|batch)|traceparent|nats[-_.]msg[-_.]id: *(?!session:| |\r))/i;

function expectSame(found: readonly string[], wanted: readonly string[], what: string): void {
  const at = wanted.findIndex((message, index) => message !== found[index]);
  if (at >= 0 || found.length !== wanted.length) {
    const first = at < 0 ? wanted.length : at;
    expect({ what, first, message: found[first] }).toEqual({ what, first, message: wanted[first] });
  }
}

test(`nats-server ${natsServerVersion()} understands what the reader told, op by op: ${operations} operations, seed ${seed}`, async () => {
  const open = (user: string, name: string) =>
    RawNatsClient.open(server.port, { user, pass: user, name, echo: false, pedantic: true });
  const [pipeIn, pipeOut, rawIn, rawOut] = await Promise.all([
    open("pipe", "pipe-in"),
    open("pipe", "pipe-out"),
    open("raw", "raw-in"),
    open("raw", "raw-out"),
  ]);
  const clients = [pipeIn, pipeOut, rawIn, rawOut];
  for (const observer of [pipeOut, rawOut]) observer.write(Buffer.from("SUB > 1\r\n"));
  await Promise.all([pipeOut.settled(), rawOut.settled()]);

  const streams = new HostileStreams(seed);
  const pipe = new Pipe();
  let done = 0;
  let rawMessages = 0;
  while (done < operations) {
    const rawTold: string[] = [];
    const rawWires: Buffer[] = [];
    pipe.sent = [];
    pipe.pings = 0;
    let rawPings = 0;
    for (let left = 1500; left > 0; left--) {
      const stream = streams.next();
      const wire = Buffer.from(stream.wire, "latin1");
      const pingsBefore = pipe.pings;
      pipe.begin();
      const reader = new ClientReader(pipe, fuzzLimits);
      for (const chunk of streams.split(wire)) reader.push(chunk);
      done += stream.operations;
      // Tracing changes what is delivered: it is only ever taken out, never tried on the server.
      if (pipe.violated || pipe.lastSubject !== stream.end || /trace/i.test(stream.wire)) continue;
      rawTold.push(...pipe.told);
      rawWires.push(wire);
      rawPings += pipe.pings - pingsBefore;
    }
    pipeIn.write(pipe.writer.take());
    rawIn.write(Buffer.concat(rawWires));
    await Promise.all([pipeIn.settled(pipe.pings), rawIn.settled(rawPings)]);
    await Promise.all([pipeOut.settled(), rawOut.settled()]);
    expectSame(pipeOut.messages, pipe.sent, "what the pipe forwarded");
    expectSame(rawOut.messages, rawTold, "what the client itself would have said");
    const spoofed = pipeOut.messages.filter((text) => forbidden.test(text.split("\n\r\n")[0]?.replace(ours, "") ?? ""));
    expect(spoofed).toEqual([]);
    rawMessages += rawTold.length;
    pipeOut.messages = [];
    rawOut.messages = [];
  }
  expect(clients.map(({ errors }) => errors)).toEqual([[], [], [], []]);
  expect(await subscriptionsOf("pipe-in")).toEqual(new Map([...pipe.subscriptions].sort()));

  // It would prove nothing if all were refused, or nothing was.
  expect(pipe.published).toBeGreaterThan(operations / 3);
  expect(rawMessages).toBeGreaterThan(operations / 6);
  expect(pipe.refusedHeaders).toBeGreaterThan(operations / 100);
  const codes = ["headers_malformed", "line_too_long", "operation_malformed", "operation_unknown", "payload_too_large"];
  expect([...pipe.violations.keys()].sort()).toEqual([...codes, "subject_invalid"]);
  for (const [code, count] of pipe.violations) expect([code, count > operations / 2500]).toEqual([code, true]);
  for (const client of clients) client.close();
}, 180_000);

const ours = /NATS\/1\.0\r\nWayleave-Job: fuzz\r\nWayleave-Message: nc_fuzz\.\d+/;

/** By sid, what the server says the connection listens to. */
async function subscriptionsOf(name: string): Promise<ReadonlyMap<string, string>> {
  const answer = await fetch(`${server.monitoring}/connz?subs=detail`);
  const { connections } = (await answer.json()) as {
    connections: {
      name: string;
      subscriptions_list_detail?: { sid: string; subject: string; qgroup?: string }[];
    }[];
  };
  const found = connections.find((connection) => connection.name === name)?.subscriptions_list_detail ?? [];
  return new Map(found.map(({ sid, subject, qgroup = "" }) => [sid, `${subject} ${qgroup}`] as const).sort());
}
