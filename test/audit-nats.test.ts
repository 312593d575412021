import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { createApp } from "../src/api/app.ts";
import { type OperatorRouteDeps, operatorRoutes } from "../src/api/operator.ts";
import { verifyRoutes } from "../src/api/verify.ts";
import { auditList } from "../src/cli/audit-list.ts";
import { Input } from "../src/cli/command.ts";
import { fakeIo } from "../src/cli/job/command-io.fake.ts";
import { lineWidth } from "../src/cli/terminal.ts";
import { verify } from "../src/cli/verify.ts";
import type { Config } from "../src/config/config.ts";
import type { NatsCount } from "../src/core/nats-record.ts";
import type { AuditEvent } from "../src/core/record.ts";
import { job, session } from "../src/gateway/evidence.fake.ts";
import { fakeFacts } from "../src/gateway/story.fake.ts";
import { listenOnSocket } from "../src/server/listen.ts";
import { type BrokerState, openState } from "../src/server/state.ts";
import { storyFacts } from "../src/server/story.ts";

const clock = { now: () => Date.now(), monotonic: () => performance.now() };
const log = pino({ level: "silent" });
const place = { gateway: "nats-1", connection: "nc_aaaaaaaaaaaaaaaa", target: "events", account: "CI" };
const config = {
  trustDomain: "acme.example",
  gateways: [{ name: "nats-1", kind: "nats", targets: ["events"] }],
} as unknown as Config;

let directory = "";
let state: BrokerState;
let stop: () => Promise<void> = async () => undefined;

/** The broker's journal and index behind the operator's own routes; nothing else of it runs. */
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-audit-nats-"));
  writeFileSync(join(directory, "wayleave.yaml"), stringify({ data: "./data" }));
  state = await openState(join(directory, "data"), clock);
  const { records, table } = state;
  const operator = { records: records.query, record: records.get } as unknown as OperatorRouteDeps;
  const never = () => undefined;
  const story = { config, clock, table, records, heardAt: never, aliveAt: never };
  const jobLog = async () => ({ state: "unread", detail: "no API" }) as const;
  const verifying = verifyRoutes({ facts: (name) => storyFacts({ ...story, jobLog }, name) });
  const app = createApp({ log, behindProxy: false, routes: [operatorRoutes(operator), verifying] });
  await listenOnSocket(app, join(directory, "data", "admin.sock"));
  stop = async () => {
    await app.close();
    await state.close();
  };
});

afterEach(async () => {
  await stop();
  rmSync(directory, { recursive: true, force: true });
});

const mine = <Kind extends AuditEvent["kind"]>(kind: Kind, data: object) =>
  ({ kind, data, session, job }) as AuditEvent;

/** A session whose job publishes so many messages, now one by one and now in bulk, and ends. */
async function traffic(total: number): Promise<void> {
  const [opening] = fakeFacts([]).records;
  await state.recorder.append([mine("session.opened", opening?.data ?? {})]);
  await state.recorder.append([mine("nats.connected", connected)]);
  let sent: NatsCount = { messages: 0, bytes: 0 };
  for (let bulk = 1; sent.messages < total; bulk = bulk >= 2000 ? 1 : bulk * 3) {
    const size = Math.min(bulk, total - sent.messages);
    const first = sent.messages + 1;
    const messages = Array.from({ length: size }, (_, at) => `publish-status build.status.7.${first + at} - 0 128`);
    sent = { messages: sent.messages + size, bytes: sent.bytes + size * 128 };
    await state.recorder.append([
      mine("nats.published", { ...place, first, messages, bytes: size * 128, policy: "41c0" }),
    ]);
  }
  const none = { messages: 0, bytes: 0 };
  const counts = { published: sent, delivered: none, denied: 0, server: { received: sent, sent: none } };
  await state.recorder.append([mine("session.ended", { reason: "job_finished" })]);
  await state.recorder.append([mine("nats.disconnected", { ...place, reason: "session_ended", ...counts })]);
}

const connected = {
  ...place,
  mode: "gateway",
  server_id: "NDQ2TYV5SPIJRVMZ4B6EY3FTGXJ4JGZTD6TOF4U2Z3VTZ3TL6EXAMPLE",
  cid: 17,
  server_version: "2.15.1",
  roles: ["publish-status"],
  policy: "41c0",
  records: "durable",
  expires_at: 0,
} as const;

async function listed(options: Readonly<Record<string, unknown>>): Promise<string> {
  const io = fakeIo({}, directory);
  expect(await auditList.run(io, new Input([], { config: join(directory, "wayleave.yaml"), ...options }))).toBe(0);
  return io.out();
}

async function verified() {
  const io = fakeIo({}, directory);
  const input = new Input([session], { config: join(directory, "wayleave.yaml"), wait: "0" });
  const status = await verify.run(io, input);
  return { status, text: io.out() };
}

describe("100,000 messages of a job", () => {
  const total = 100_000;
  beforeEach(() => traffic(total));

  test("are all listed, each once and in order", async () => {
    const text = await listed({ job: job.job_id, nats: true });
    const numbers = [...text.matchAll(/ pub +(\d+) .* build\.status\.7\.\1$/gm)].map(([, number]) => Number(number));
    expect(numbers).toEqual(Array.from({ length: total }, (_, at) => at + 1));
    expect(text).toContain("every message published has its record");
    expect(text).toContain("the server counted the same");
    expect(text).toMatch(/\n1 connection: 100,000 published, 0 delivered, 0 denied\n$/);
  });

  test("are data with --json, and as many", async () => {
    const rows = (await listed({ session, nats: true, json: true })).trimEnd().split("\n");
    expect(rows).toHaveLength(total + 3);
    expect(JSON.parse(rows.at(-1) ?? "")).toMatchObject({
      type: "disconnected",
      server_agrees: true,
      recorded: { messages: total, bytes: total * 128 },
    });
  });

  test("are found by their subject", async () => {
    const text = await listed({ subject: "build.status.7.77777" });
    expect(text).toMatch(/rec_\w{12} {2}acme\/shop job #7712 {2}build\.status\.7\.77777\n$/);
    expect(await listed({ subject: "build.status.8.>" })).toBe("nobody published to it\n");
  });

  test("add up in the session's story", async () => {
    const { status, text } = await verified();
    expect(text).toMatch(/nats {7}nats-1 {2}nc_a{16} {2}account CI +\d\d:\d\d:\d\d\.\d{3} {2}rec_/);
    expect(text).toContain("100,000 (12,800,000 bytes) published, 0 (0 bytes) delivered; the server agrees");
    expect(text).toMatch(/closed \d+ ms after the end \(session ended\)/);
    expect(text).toMatch(/\nIts NATS connections were closed \d+ ms after the end\.\n$/);
    expect(text.split("\n").filter((line) => line.length > lineWidth)).toEqual([]);
    expect(status).toBe(0);
  });
});

test("a record of messages that the gateway did not count is a contradiction", async () => {
  await traffic(100);
  const messages = ["publish-status build.status.7.101 - 0 128"];
  await state.recorder.append([mine("nats.published", { ...place, first: 101, messages, bytes: 128, policy: "41c0" })]);
  const { status, text } = await verified();
  expect(status).toBe(3);
  expect(text).toContain("DIFFERS    nats-1: the records of a connection's messages are not what the gateway counted");
});
