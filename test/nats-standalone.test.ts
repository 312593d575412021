import { connect, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startJob } from "./broker-crash-load.ts";
import { type StandaloneLab, standaloneLab } from "./nats-standalone-lab.ts";

let lab: StandaloneLab;
let close: () => Promise<void> = async () => undefined;
const clients: NatsConnection[] = [];

beforeAll(async () => {
  lab = await standaloneLab();
  close = lab.close;
  // The broker tries the server again and again, and began before there was one.
  const warm = await token();
  await vi.waitFor(() => client(warm), { timeout: 30_000, interval: 100 });
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await close();
});

async function token(): Promise<string> {
  return lab.ci.gitlab.idToken(startJob(lab.ci), { aud: lab.url });
}

async function client(secret: string, user = "events"): Promise<NatsConnection> {
  const connection = await connect({
    servers: `127.0.0.1:${lab.gatewayPort}`,
    user,
    pass: secret,
    reconnect: false,
  });
  clients.push(connection);
  return connection;
}

/** Texts of what was published, as recorded: `<subject>`. */
async function recordedSubjects(): Promise<readonly string[]> {
  const records = await lab.records("nats.published");
  return records.flatMap((record) =>
    record.kind === "nats.published" ? record.data.messages.map((message) => message.split(" ")[1] ?? "") : [],
  );
}

test("a job works through it with its own token: decided there, recorded by the broker before it arrives", async () => {
  const secret = await token();
  const [publisher, subscriber] = await Promise.all([client(secret), client(secret)]);
  const heard: string[] = [];
  subscriber.subscribe("build.>", { callback: (_error, message) => void heard.push(message.subject) });
  await subscriber.flush();
  publisher.publish("build.one");
  publisher.publish("deploy.nobody.may");
  await publisher.flush();
  await vi.waitFor(() => expect(heard).toEqual(["build.one"]));
  expect(await recordedSubjects()).toContain("build.one");
  const connected = await lab.records("nats.connected");
  expect(new Set(connected.slice(-2).map(({ session }) => session)).size).toBe(1);
  await vi.waitFor(async () => {
    const denials = await lab.records("decision");
    expect(denials.map(({ data }) => (data as { operation: string }).operation)).toContain("pub deploy.nobody.may");
  });
});

test("a session's end reaches its connections at once, and its token opens nothing any more", async () => {
  const job = startJob(lab.ci);
  const secret = await lab.ci.gitlab.idToken(job, { aud: lab.url });
  const connection = await client(secret);
  const closed = connection.closed();
  lab.ci.gitlab.succeedJob(job);
  await lab.ci.gitlab.flush();
  expect(String(await closed)).toMatch(/session ended/i);
  await expect(client(secret)).rejects.toThrow(/session ended: job finished/i);
  await vi.waitFor(async () => {
    const ends = await lab.records("nats.disconnected");
    expect(ends.map(({ data }) => (data as { reason: string }).reason)).toContain("session_ended");
  });
});

test("the broker killed: nothing that was not recorded is forwarded, everything is refused within the bound, and it goes on afterwards", async () => {
  const secret = await token();
  const [publisher, subscriber] = await Promise.all([client(secret), client(secret)]);
  const heard: string[] = [];
  subscriber.subscribe("build.load.>", { callback: (_error, message) => void heard.push(message.subject) });
  await subscriber.flush();
  const closed = publisher.closed();
  let number = 0;
  let over = false;
  void closed.then(() => {
    over = true;
  });
  const publish = () => {
    for (let count = 0; count < 50 && !over; count++) publisher.publish(`build.load.${++number}`);
  };
  publish();
  await publisher.flush();
  await vi.waitFor(() => expect(heard.length).toBe(50));
  const killing = lab.broker().kill("SIGKILL");
  const killedAt = performance.now();
  while (!over) {
    publish();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await killing;
  const boundMs = 5_000 + 3_000; // what it believes without the broker, and a busy machine
  expect(performance.now() - killedAt).toBeLessThan(boundMs);
  await expect(client(secret)).rejects.toThrow();
  const arrived = [...heard];

  await lab.restartBroker();
  await vi.waitFor(async () => expect((await client(secret)).isClosed()).toBe(false), {
    timeout: 15_000,
    interval: 250,
  });
  const recorded = new Set(await recordedSubjects());
  expect(arrived.length).toBeGreaterThan(0);
  expect(arrived.filter((subject) => !recorded.has(subject))).toEqual([]);
  expect([...new Set(arrived)]).toHaveLength(arrived.length);
});

test("a gateway that stood still while a job ended hears of it when it goes on", async () => {
  const secret = await token();
  const connection = await client(secret);
  const again = await client(secret);
  const job = startJob(lab.ci);
  const other = await lab.ci.gitlab.idToken(job, { aud: lab.url });
  const gone = await client(other);
  const closed = gone.closed();
  lab.gateway.kill("SIGSTOP");
  lab.ci.gitlab.failJob(job);
  await lab.ci.gitlab.flush();
  lab.gateway.kill("SIGCONT");
  expect(String(await closed)).toMatch(/session ended/i);
  await connection.flush();
  expect(again.isClosed()).toBe(false);
});

test("it ends in order, and the broker hears of every connection's end", async () => {
  const secret = await token();
  const connection = await client(secret);
  const closed = connection.closed();
  lab.gateway.kill("SIGTERM");
  expect(await lab.gateway.exited).toBe(0);
  await closed;
  const connected = await lab.records("nats.connected");
  const ended = await lab.records("nats.disconnected");
  const names = (records: typeof connected) => records.map(({ data }) => (data as { connection: string }).connection);
  expect(names(ended)).toEqual(expect.arrayContaining(names(connected).slice(-1)));
});
