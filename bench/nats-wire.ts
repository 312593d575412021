import { parseArgs } from "node:util";
import { ClientReader } from "../src/gateway/nats/client-reader.ts";
import { HeaderCleaner } from "../src/gateway/nats/header-block.ts";
import { identityLines, OpWriter } from "../src/gateway/nats/op-writer.ts";
import { ServerReader } from "../src/gateway/nats/server-reader.ts";
import type { ClientOps, ServerOps } from "../src/gateway/nats/wire.ts";
import { machine, median, table, thousands } from "./machine.ts";

/**
 * What the wire alone costs a NATS gateway: reading a client's messages, cleaning their headers and writing them anew, and the
 * way back; no policy, no record, no socket. 128-byte payloads, in chunks of 64 KiB, in CPU time of the whole process,
 * garbage collection included. `node bench/nats-wire.ts [--json] [--rounds 7]`
 */

const { values: options } = parseArgs({
  options: { json: { type: "boolean", default: false }, rounds: { type: "string", default: "7" } },
});

const messages = 400_000;
const distinct = 4_000;
const payload = "x".repeat(128);
const limits = { maxLine: 4_096, maxPayload: 1_048_576 };
const identity = identityLines("gitlab acme/shop pipeline 1234567 job 7654321 ref main", "nc_0123456789abcdef");

const headers = (at: number) => `NATS/1.0\r\nNats-Msg-Id: build-${at}\r\nContent-Type: application/json\r\n\r\n`;
const plainHeaders = (at: number) => `NATS/1.0\r\nX-Build: ${at}\r\nContent-Type: application/json\r\n\r\n`;
const subject = (at: number) => `build.status.42.${at % 8}`;

const pub = (at: number) => `PUB ${subject(at)} ${payload.length}\r\n${payload}\r\n`;
const request = (at: number) =>
  `PUB ${subject(at)} _INBOX.0123456789abcdefghijkl.${at} ${payload.length}\r\n${payload}\r\n`;
const hpub = (block: (at: number) => string) => (at: number) => {
  const text = block(at);
  return `HPUB ${subject(at)} ${text.length} ${text.length + payload.length}\r\n${text}${payload}\r\n`;
};
const msg = (at: number) => `MSG ${subject(at)} 7 ${payload.length}\r\n${payload}\r\n`;
const hmsg = (at: number) => {
  const text = headers(at);
  return `HMSG ${subject(at)} 7 ${text.length} ${text.length + payload.length}\r\n${text}${payload}\r\n`;
};

const nothing = () => undefined;
const failed = ({ detail }: { readonly detail: string }) => {
  throw new Error(detail);
};
const others = { connect: nothing, subscribe: nothing, unsubscribe: nothing, ping: nothing, pong: nothing };
const serverOthers = { info: nothing, ok: nothing, error: nothing, ping: nothing, pong: nothing };

/** Takes chunks; gives how many messages it saw. */
type Work = (chunks: readonly Buffer[]) => number;

function reading(): Work {
  let count = 0;
  const ops: ClientOps = { ...others, publish: () => count++, violation: failed };
  return pushing(new ClientReader(ops, limits), nothing, () => count);
}

function rewriting(): Work {
  let count = 0;
  const writer = new OpWriter();
  const cleaner = new HeaderCleaner({ prefix: "0123456789abcdef" });
  const publish: ClientOps["publish"] = (op) => {
    const block = op.headerEnd > op.headerStart;
    const refused = block ? cleaner.clean(op.buffer, op.headerStart, op.headerEnd) : undefined;
    if (refused !== undefined) failed(refused);
    writer.publish(op, op.subject, op.reply, identity, ++count, block ? cleaner.lines : undefined);
  };
  const reader = new ClientReader({ ...others, publish, violation: failed }, limits);
  return pushing(
    reader,
    () => writer.take(),
    () => count,
  );
}

function delivering(): Work {
  let count = 0;
  const writer = new OpWriter();
  const message: ServerOps["message"] = (op) => {
    count++;
    writer.message(op, op.subject, op.reply);
  };
  const reader = new ServerReader({ ...serverOthers, message, violation: failed }, limits);
  return pushing(
    reader,
    () => writer.take(),
    () => count,
  );
}

function pushing(reader: { push(chunk: Buffer): void }, after: () => unknown, count: () => number): Work {
  return (chunks) => {
    const before = count();
    for (const chunk of chunks) {
      reader.push(chunk);
      after();
    }
    return count() - before;
  };
}

interface Subject {
  readonly name: string;
  readonly chunks: readonly Buffer[];
  readonly work: Work;
  /** CPU and wall time, µs a message, of each round. */
  readonly cpu: number[];
  readonly wall: number[];
}

function buildSubject(name: string, operation: (at: number) => string, work: Work): Subject {
  const bytes = Buffer.from(Array.from({ length: distinct }, (_, at) => operation(at)).join(""), "latin1");
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 65_536) chunks.push(bytes.subarray(at, at + 65_536));
  return { name, chunks, work, cpu: [], wall: [] };
}

const subjects = [
  buildSubject("published, parse only", pub, reading()),
  buildSubject("published, parse and rewrite", pub, rewriting()),
  buildSubject("with a reply subject, parse only", request, reading()),
  buildSubject("with a reply subject, parse and rewrite", request, rewriting()),
  buildSubject("two plain headers, parse only", hpub(plainHeaders), reading()),
  buildSubject("two plain headers, parse, clean and rewrite", hpub(plainHeaders), rewriting()),
  buildSubject("an id and a header, parse, clean and rewrite", hpub(headers), rewriting()),
  buildSubject("delivered, parse and rewrite", msg, delivering()),
  buildSubject("delivered with two headers, parse and rewrite", hmsg, delivering()),
];

const rounds = Math.max(1, Number(options.rounds));
for (let round = -2; round < rounds; round++) {
  for (const { chunks, work, cpu, wall } of subjects) {
    const start = performance.now();
    const before = process.cpuUsage();
    let seen = 0;
    while (seen < messages) seen += work(chunks);
    const { user, system } = process.cpuUsage(before);
    if (round < 0) continue; // the first two rounds warm up
    cpu.push((user + system) / seen);
    wall.push(((performance.now() - start) * 1000) / seen);
  }
}

const results = subjects.map(({ name, cpu, wall }) => ({
  name,
  cpu_us: median(cpu),
  messages_per_second: Math.round(1e6 / median(wall)),
}));

if (options.json) console.log(JSON.stringify({ benchmark: "nats-wire", rounds, results, machine: machine() }));
else {
  console.log(
    `NATS wire, 128-byte messages, one core, median of ${rounds} rounds of ${thousands(messages)}, in turn\n`,
  );
  const rows = results.map(({ name, cpu_us, messages_per_second }) => [
    name,
    cpu_us.toFixed(2),
    thousands(1e6 / cpu_us),
    thousands(messages_per_second),
  ]);
  console.log(table([["", "CPU µs each", "per CPU second", "per second"], ...rows]));
  console.log(`\n${machine()}`);
}
