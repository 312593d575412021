import { connect as connectTcp } from "node:net";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type Attacker, type AttackLab, startAttackLab, type Witnessed } from "./nats-proof-attack-lab.ts";
import { until } from "./nats-proof-world.ts";

/** Bytes that are no honest client's, at a whole installation. */
let lab: AttackLab;
beforeAll(async () => {
  lab = await startAttackLab();
});
afterAll(async () => {
  await lab?.close();
});

const subject = "build.status.1042.wire";

async function arrived({ session }: Attacker): Promise<readonly Witnessed[]> {
  return (await lab.witnessed()).filter(({ headers }) => headers["Wayleave-Job"]?.some((job) => job.endsWith(session)));
}

const bySession = (session: string) => (record: { readonly session?: string }) => record.session === session;

describe("what nats-server would take, and the gateway does not", () => {
  test.each([
    ["an operation in lower case", `pub ${subject} 1\r\nx\r\n`, "operation_unknown"],
    ["an operation in mixed case", `Pub ${subject} 1\r\nx\r\n`, "operation_unknown"],
    ["a tab between words", `PUB\t${subject}\t1\r\nx\r\n`, "operation_unknown"],
    ["a tab after the subject", `PUB ${subject}\t1\r\nx\r\n`, "subject_invalid"],
    ["two spaces before the subject", `PUB  ${subject} 1\r\nx\r\n`, "subject_invalid"],
    ["a space at the end", `PUB ${subject} 1 \r\nx\r\n`, "operation_malformed"],
    ["a line feed alone", `PUB ${subject} 1\nx\n`, "operation_malformed"],
    ["a size with a leading zero", `PUB ${subject} 01\r\nx\r\n`, "operation_malformed"],
    ["a size with a sign", `PUB ${subject} +1\r\nx\r\n`, "operation_malformed"],
    ["a payload longer than it says", `PUB ${subject} 1\r\nxy\r\n`, "operation_malformed"],
    ["a wildcard in a subject", "PUB build.status.1042.* 1\r\nx\r\n", "subject_invalid"],
    ["an empty token", "PUB build.status.1042. 1\r\nx\r\n", "subject_invalid"],
    ["a server's operation", `MSG ${subject} 1 1\r\nx\r\n`, "operation_unknown"],
    ["a route's operation", `RMSG CI ${subject} 1\r\nx\r\n`, "operation_unknown"],
    ["an INFO", "INFO {}\r\n", "operation_unknown"],
    ["a line of 5,000 bytes", `PUB ${"a".repeat(5_000)} 1\r\nx\r\n`, "line_too_long"],
    ["a line without end", "PUB ".padEnd(70_000, "a"), "line_too_long"],
    ["a payload of two megabytes", `PUB ${subject} 2097152\r\n`, "payload_too_large"],
    ["a payload one byte too long", `PUB ${subject} 1044481\r\n`, "payload_too_large"],
  ])("%s: the connection ends, it is recorded, and nothing arrives", async (_, bytes, code) => {
    const attacker = await lab.attacker();
    attacker.raw.say(`PUB ${subject} 5\r\nfirst\r\n`);
    attacker.raw.say(`${bytes}PUB ${subject} 5\r\nafter\r\n`);
    await until(() => attacker.raw.closed());
    expect(attacker.raw.heard()).toMatch(/-ERR 'Protocol Violation: /);
    const { data } = await lab.records.until("nats.refused", bySession(attacker.session));
    expect(data.code).toBe(code);
    const end = await lab.records.until("nats.disconnected", bySession(attacker.session));
    expect(end.data.reason).toBe("protocol_error");
    const texts = (await arrived(attacker)).map(({ text }) => text);
    // What came before is the job's own; it is forwarded or not, and the record says which.
    expect(texts).toEqual(Array(end.data.published.messages).fill("first"));
  });
});

test("split at every byte, a stream is what it is in one piece", async () => {
  const attacker = await lab.attacker();
  const block = "NATS/1.0\r\nMine: 1\r\n\r\n";
  const stream = `PUB ${subject} 5\r\n\r\nPUB\r\nHPUB ${subject} ${block.length} ${block.length + 2}\r\n${block}ab\r\nSUB news.x 1\r\nUNSUB 1\r\nPUB ${subject} 0\r\n\r\n`;
  attacker.raw.socket.setNoDelay(true);
  for (const byte of stream) {
    attacker.raw.say(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await attacker.say("")).toBe("");
  const messages = await arrived(attacker);
  expect(messages.map(({ text }) => text)).toEqual(["\r\nPUB", "ab", ""]);
  expect(messages[1]?.headers.Mine).toEqual(["1"]);
});

describe("half-open sockets", () => {
  test.each([
    ["says nothing", ""],
    ["says half a CONNECT", 'CONNECT {"auth_token":"wl'],
  ])("a client that %s is dropped in time, and recorded", async (_, bytes) => {
    const raw = await lab.raw();
    const began = performance.now();
    if (bytes !== "") raw.say(bytes);
    await until(() => raw.closed());
    expect(raw.heard()).toContain("no CONNECT came within 2 s");
    expect(performance.now() - began).toBeLessThan(10_000);
    await lab.records.until("nats.refused", ({ data }) => data.code === "connect_late");
  });

  test("a client that has closed its half is heard out, and its messages are all there", async () => {
    const attacker = await lab.attacker();
    attacker.raw.socket.end(`PUB ${subject} 4\r\nlast\r\n`.repeat(1_000), "latin1");
    await until(() => attacker.raw.closed());
    const { data } = await lab.records.until("nats.disconnected", bySession(attacker.session));
    expect(data).toMatchObject({ reason: "client_closed", published: { messages: 1_000 } });
    expect(data.server?.received).toEqual(data.published);
    expect(await arrived(attacker)).toHaveLength(1_000);
  });

  test("a client that breaks in the middle of a message leaves no half of it", async () => {
    const attacker = await lab.attacker();
    attacker.raw.say(`PUB ${subject} 5\r\nwhole\r\nPUB ${subject} 5\r\nha`);
    await until(async () => (await arrived(attacker)).length === 1);
    attacker.raw.socket.resetAndDestroy();
    const { data } = await lab.records.until("nats.disconnected", bySession(attacker.session));
    expect(data.published.messages).toBe(1);
    expect((await arrived(attacker)).map(({ text }) => text)).toEqual(["whole"]);
  });
});

test("a slow reader is ended, and nobody else notices", { timeout: 60_000 }, async () => {
  const reader = await lab.proof.startJob("acme/worker");
  const { password = "" } = await reader.credential();
  const slow = connectTcp(Number(new URL(lab.proof.world.natsUrl).port), "127.0.0.1");
  onTestFinished(() => void slow.destroy());
  slow.on("error", () => undefined);
  slow.write(`CONNECT ${JSON.stringify({ auth_token: password, headers: true })}\r\nSUB build.status.> 1\r\nPING\r\n`);
  const session = await reader.session();
  await lab.records.until("nats.subscribed", bySession(session));
  slow.pause();
  const other = await (await lab.proof.startJob("acme/worker")).connect();
  let heard = 0;
  other.subscribe("build.status.>", { callback: () => void heard++ });
  await other.flush();
  const payload = new Uint8Array(500_000);
  let sent = 0;
  const over = lab.records.until("nats.disconnected", bySession(session)).then(({ data }) => data);
  let end: Awaited<typeof over> | undefined;
  void over.then((data) => {
    end = data;
  });
  while (end === undefined) {
    if (sent < 100) {
      lab.admin.publish("build.status.1042.big", payload);
      sent++;
    }
    await lab.admin.flush();
  }
  expect(end).toMatchObject({ reason: "slow_reader", detail: expect.stringContaining("did not read for 8 s") });
  await until(() => heard === sent);
  expect(other.isClosed()).toBe(false);
  await other.close();
});

describe("where TLS is on", () => {
  test("a CONNECT without it gets no answer, and opens no session; one within it does", async () => {
    const secure = await startAttackLab({
      gateway: { tls: { cert_file: "gateway.crt", key_file: "gateway.key" } },
      files: (ca) => {
        const { cert, key } = ca.issue(["localhost", "127.0.0.1"]);
        return { "gateway.crt": cert, "gateway.key": key };
      },
    });
    onTestFinished(secure.close);
    const job = await secure.proof.startJob("acme/shop");
    const raw = await secure.raw();
    expect(raw.info.tls_required).toBe(true);
    raw.say(`CONNECT ${JSON.stringify({ auth_token: job.token })}\r\nPING\r\n`);
    await until(() => raw.closed());
    expect(raw.heard()).not.toContain("PONG");
    expect(secure.records.of("session.opened").some(({ job: of }) => of?.job_id === String(job.job.id))).toBe(false);
    await secure.records.until("nats.refused", ({ data }) => data.from !== undefined);
    const client = await job.connect();
    await client.flush();
    await client.close();
  });
});
