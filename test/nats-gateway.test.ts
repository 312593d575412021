import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { headers, type Msg, type Subscription } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { gatewayLab } from "./nats-gateway-lab.ts";

const everything = ["pub build.>", "sub build.>", "req svc.>", "sub svc.>", "pull EVENTS.puller", "pub event.>"];

async function collect(subscription: Subscription): Promise<readonly Msg[]> {
  const messages: Msg[] = [];
  for await (const message of subscription) messages.push(message);
  return messages;
}

/** Every count of the finished connections agrees with the server's. */
function expectCounted(lab: Awaited<ReturnType<typeof gatewayLab>>, connections: number): void {
  const ends = lab.authority.of("nats.disconnected");
  expect(ends).toHaveLength(connections);
  for (const { published, server } of ends) expect(server?.received).toEqual(published);
  expect(lab.authority.of("nats.mismatch")).toEqual([]);
  expect(lab.authority.rows()).toHaveLength(ends.reduce((sum, { published }) => sum + published.messages, 0));
}

test("a client publishes and subscribes: each message has a row, and the server counted the same", async () => {
  const lab = await gatewayLab({ a: { password: "a", allow: everything } });
  const client = await lab.client("a", { name: "a job" });
  const messages = collect(client.subscribe("build.>", { max: 3 }));
  const withHeaders = headers();
  withHeaders.set("Job-Header", "kept");
  client.publish("build.one", "1");
  client.publish("build.two", "22", { headers: withHeaders });
  client.publish("build.large", new Uint8Array(1_000_000).fill(7));
  const got = await messages;
  expect(got.map(({ subject, data }) => [subject, data.length])).toEqual([
    ["build.one", 1],
    ["build.two", 2],
    ["build.large", 1_000_000],
  ]);
  expect(got[1]?.headers?.get("Job-Header")).toBe("kept");
  expect(got[1]?.headers?.get("Wayleave-Job")).toBe("gitlab:gitlab.example:1042:job:a000000000000000");
  expect(got[1]?.headers?.get("Wayleave-Message")).toBe("nc_0000000000000001.2");
  expect(lab.gateway.connections()).toMatchObject([{ client: "a job", published: 3, delivered: 3, denied: 0 }]);
  await client.close();
  await lab.until(() => lab.gateway.connections().length === 0 && lab.authority.of("nats.disconnected").length === 1);
  expect(lab.authority.rows().map((row) => row.replace(/ \d+ /, " n "))).toEqual([
    "role build.one - n 1",
    "role build.two - n 2",
    "role build.large - n 1000000",
  ]);
  const [delivered] = lab.authority.of("nats.delivered");
  expect(delivered).toMatchObject({ sid: "1", subject: "build.>", messages: 3 });
  expect(lab.authority.of("nats.disconnected")[0]?.server?.sent).toMatchObject({ messages: 3 });
  expectCounted(lab, 1);
  expect(lab.faults).toEqual([]);
});

test("a queue group shares messages among jobs, and each share is counted", async () => {
  const jobs = { a: { password: "a", allow: everything }, b: { password: "b", allow: everything } };
  const lab = await gatewayLab(jobs);
  const [one, two] = [await lab.client("a"), await lab.client("b")];
  let taken = 0;
  for (const client of [one, two]) client.subscribe("build.>", { queue: "workers", callback: () => void taken++ });
  await Promise.all([one.flush(), two.flush()]);
  for (let at = 0; at < 200; at++) one.publish("build.task", String(at));
  await lab.until(() => taken === 200);
  await Promise.all([one.close(), two.close()]);
  await lab.until(() => lab.authority.of("nats.disconnected").length === 2);
  const shares = lab.authority.of("nats.delivered").map(({ messages }) => messages);
  expect(shares.reduce((sum, share) => sum + share, 0)).toBe(200);
  expect(lab.authority.of("nats.subscribed").map(({ queue }) => queue)).toEqual(["workers", "workers"]);
  expectCounted(lab, 2);
});

test("a job asks a service and is answered in its own inbox, which no other job has", async () => {
  const lab = await gatewayLab({ a: { password: "a", allow: everything } });
  const service = await lab.service();
  const asked: string[] = [];
  service.subscribe("svc.echo", {
    callback: (_, message) => {
      asked.push(message.reply ?? "");
      message.respond(message.data);
    },
  });
  await service.flush();
  const client = await lab.client("a");
  const answers = await Promise.all(["x", "y"].map((text) => client.request("svc.echo", text)));
  expect(answers.map((answer) => answer.string())).toEqual(["x", "y"]);
  expect((await client.request("svc.echo", "z", { noMux: true, timeout: 2_000 })).string()).toBe("z");
  expect(asked.every((reply) => reply.startsWith("_INBOX_a000000000000000."))).toBe(true);
  await expect(client.request("svc.nobody", "x")).rejects.toThrow("no responders");
  await client.close();
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  expectCounted(lab, 1);
});

test("a job answers requests: each once, to whoever asked", async () => {
  const jobs = { a: { password: "a", allow: everything }, b: { password: "b", allow: ["req svc.>"] } };
  const lab = await gatewayLab(jobs);
  const responder = await lab.client("a");
  responder.subscribe("svc.add", {
    callback: (_, message) => {
      message.respond(`${message.string()}+1`);
      message.respond("twice");
    },
  });
  await responder.flush();
  const requester = await lab.client("b");
  expect((await requester.request("svc.add", "1")).string()).toBe("1+1");
  expect((await (await lab.service()).request("svc.add", "2")).string()).toBe("2+1");
  await responder.flush();
  const rows = lab.authority.rows().filter((row) => row.startsWith("reply "));
  expect(rows).toHaveLength(2);
  expect(rows[0]).toContain("reply _INBOX_b000000000000000.");
  expect(lab.authority.of("decision").map(({ operation, reason }) => [operation.slice(0, 11), reason])).toEqual([
    ["pub _INBOX_", "subject_refused"],
    ["pub _INBOX.", "subject_refused"],
  ]);
});

test("a job publishes to a stream, fetches from a consumer and acknowledges", async () => {
  const lab = await gatewayLab({ a: { password: "a", allow: everything } });
  const manager = await jetstreamManager(await lab.service());
  await manager.streams.add({ name: "EVENTS", subjects: ["event.>"] });
  await manager.consumers.add("EVENTS", { durable_name: "puller", ack_policy: "explicit", ack_wait: 60e9 });
  const client = await lab.client("a");
  const js = jetstream(client);
  const stored = [];
  for (let at = 0; at < 20; at++) stored.push(await js.publish("event.one", String(at), { msgID: `m${at}` }));
  expect(stored.at(-1)).toMatchObject({ stream: "EVENTS", seq: 20, duplicate: false });
  expect((await js.publish("event.one", "again", { msgID: "m0" })).duplicate).toBe(true);
  const consumer = await js.consumers.get("EVENTS", "puller");
  const fetched = await consumer.fetch({ max_messages: 20, expires: 5_000 });
  const got: string[] = [];
  for await (const message of fetched) {
    got.push(message.string());
    if (got.length < 20) message.ack();
    else expect(await message.ackAck()).toBe(true);
  }
  expect(got).toHaveLength(20);
  const info = await manager.consumers.info("EVENTS", "puller");
  expect([info.num_ack_pending, info.ack_floor.stream_seq]).toEqual([0, 20]);
  const message = await manager.streams.getMessage("EVENTS", { seq: 20 });
  expect(message?.header.get("Nats-Msg-Id")).toBe("a000000000000000:m19");
  expect(message?.header.get("Wayleave-Job")).toContain("job:a000000000000000");
  expect(lab.authority.rows().filter((row) => row.startsWith("role $JS.ACK.EVENTS.puller."))).toHaveLength(20);
  expect((await jetstreamManager(client)) !== undefined).toBe(true); // asks $JS.API.INFO
  await client.close();
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  expectCounted(lab, 1);
});

test.each(["durable", "fast"] as const)("50,000 messages, %s: as many rows, as many at the server", async (records) => {
  const lab = await gatewayLab({ a: { password: "a", allow: everything, records } });
  const client = await lab.client("a");
  const payload = new Uint8Array(128);
  for (let at = 0; at < 50_000; at++) client.publish(`build.${at % 50}`, payload);
  await client.flush();
  await client.close();
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  expectCounted(lab, 1);
  expect(lab.authority.rows()).toHaveLength(50_000);
  let next = 1;
  for (const { first, messages } of lab.authority.of("nats.published")) {
    expect(first).toBe(next);
    expect(messages.length).toBeLessThanOrEqual(2_000);
    next += messages.length;
  }
  expect(lab.authority.decided).toBeLessThan(60);
});

test("where policy wants each delivery, its row is durable before the client has it", async () => {
  const lab = await gatewayLab({ a: { password: "a", allow: everything, deliveries: "full" } });
  const client = await lab.client("a");
  const got = collect(client.subscribe("build.x", { max: 2 }));
  await client.flush();
  lab.authority.stall();
  const service = await lab.service();
  service.publish("build.x", "one");
  service.publish("build.x", "three", { reply: "some.where" });
  await service.flush();
  expect(client.stats().inMsgs).toBe(0);
  lab.authority.resume();
  expect((await got).map((message) => message.string())).toEqual(["one", "three"]);
  const rows = lab.authority.of("nats.delivered").flatMap(({ each }) => each ?? []);
  expect(rows).toEqual(["build.x - 0 3", "build.x some.where 0 5"]);
});

test("a client that wants an answer to everything gets one, in order", async () => {
  const { rawClient } = await import("./nats-gateway-lab.ts");
  const lab = await gatewayLab({ a: { password: "a", allow: everything } });
  const raw = await rawClient(lab.port);
  raw.say(`CONNECT ${JSON.stringify({ auth_token: "a", verbose: true, headers: true })}\r\n`);
  raw.say("SUB build.x 1\r\nPUB no.right 1\r\nx\r\nPUB build.y 1\r\ny\r\nUNSUB 1\r\nPING\r\n");
  await lab.until(() => raw.heard().includes("PONG"));
  expect(raw.heard().replace(/: .*'/, "'")).toBe(
    `+OK\r\n+OK\r\n-ERR 'Permissions Violation for Publish to "no.right"'\r\n+OK\r\n+OK\r\nPONG\r\n`,
  );
});

test("a client without headers gets messages without them, and its own inbox names work untranslated", async () => {
  const { rawClient } = await import("./nats-gateway-lab.ts");
  const lab = await gatewayLab({ a: { password: "a", allow: everything } });
  const raw = await rawClient(lab.port);
  await raw.enter("a", { headers: false, no_responders: false });
  raw.say("SUB build.x 7\r\nSUB _INBOX_a000000000000000.q 8\r\nPING\r\n");
  await lab.until(() => raw.heard().includes("PONG"));
  raw.say("PUB build.x 2\r\nhi\r\n");
  const service = await lab.service();
  service.publish("_INBOX_a000000000000000.q", "own");
  await lab.until(() => raw.heard().includes("own"));
  expect(raw.heard()).toContain("MSG build.x 7 2\r\nhi\r\n");
  expect(raw.heard()).toContain("MSG _INBOX_a000000000000000.q 8 3\r\nown\r\n");
});
