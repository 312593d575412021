import { expect, test } from "vitest";
import { gatewayWorld, until } from "./gateway.fake.ts";

const jobs = { a: { password: "a", allow: ["pub build.>", "sub build.>", "req svc.>"] } };
const turn = () => new Promise((resolve) => setImmediate(resolve));

test.each([
  ["an operation in lower case", "pub build.x 0\r\n\r\n", "operation_unknown"],
  ["two spaces", "PUB  build.x 0\r\n\r\n", "subject_invalid"],
  ["a payload that is longer than it says", "PUB build.x 1\r\nxx\r\n", "operation_malformed"],
  ["a line that is too long", `PUB ${"x".repeat(5_000)}`, "line_too_long"],
  ["a message that is too large", "PUB build.x 9999999\r\n", "payload_too_large"],
  ["a wildcard in a message's subject", "PUB build.* 0\r\n\r\n", "subject_invalid"],
  ["headers without their end", "HPUB build.x 12 12\r\nNATS/1.0\r\nAB\r\n", "headers_malformed"],
  ["a subscription id that is in use", "SUB build.x 1\r\nSUB build.y 1\r\n", "operation_malformed"],
])("%s: told, closed, recorded, and nothing of it or after it forwarded", async (_, said, code) => {
  const { enter, server, authority, end } = await gatewayWorld(jobs);
  const peer = await enter();
  peer.say(`${said}PUB build.after 0\r\n\r\n`);
  expect(await peer.gone()).toMatch(/^-ERR 'Protocol Violation: [^'\r\n]*'\r\n$/);
  expect(authority.of("nats.refused")).toMatchObject([{ code, connection: "nc_0000000000000001" }]);
  expect(await end()).toMatchObject({ reason: "protocol_error", published: { messages: 0 } });
  expect(server.last.heard).not.toContain("PUB");
  await server.last.gone();
});

test("operations reach the server in their order, each record before what it is about", async () => {
  const { enter, server, authority } = await gatewayWorld(jobs);
  const peer = await enter();
  authority.stall();
  peer.say("PUB build.a 1\r\na\r\nSUB build.> q 9\r\nPUB build.b 1\r\nb\r\nUNSUB 9\r\nPING\r\n");
  await turn();
  await turn();
  expect(server.last.heard).toBe("");
  authority.resume();
  await peer.until("PONG");
  const words = [...server.last.heard.matchAll(/^(HPUB \S+|SUB .*|UNSUB .*|PING)/gm)].map(([word]) => word?.trim());
  expect(words).toEqual(["HPUB build.a", "SUB build.> q 1", "HPUB build.b", "UNSUB 1", "PING"]);
  expect(authority.events.map(({ kind }) => kind)).toEqual([
    "nats.published",
    "nats.subscribed",
    "nats.published",
    "nats.unsubscribed",
  ]);
});

test("a client is not read while more waits for the journal than may", async () => {
  const { enter, authority, server, gateway } = await gatewayWorld(jobs, { limits: { heldBytes: 100_000 } });
  const peer = await enter();
  authority.stall();
  const message = `PUB build.x 1000\r\n${"x".repeat(1_000)}\r\n`;
  let taken = true;
  for (let at = 0; at < 30_000; at++) taken = peer.socket.write(message);
  expect(taken).toBe(false);
  for (let at = 0; at < 50; at++) await turn();
  expect(peer.socket.writableLength).toBeGreaterThan(10_000_000); // what is not read stays with the client
  authority.resume();
  await until(() => gateway.connections()[0]?.published === 30_000);
  expect(authority.rows()).toHaveLength(30_000);
  expect(server.last.heard.length).toBeGreaterThan(30_000_000);
});

test("a server that does not read makes the client wait, not the gateway grow", async () => {
  const { enter, server, gateway } = await gatewayWorld(jobs);
  const peer = await enter();
  server.last.socket.pause();
  const message = `PUB build.x 1000\r\n${"x".repeat(1_000)}\r\n`;
  for (let at = 0; at < 30_000; at++) peer.socket.write(message);
  let before = -1;
  let same = 0;
  await until(() => {
    const now = gateway.connections()[0]?.published ?? 0;
    same = now === before ? same + 1 : 0;
    before = now;
    return same > 200;
  });
  expect(before).toBeLessThan(30_000);
  server.last.socket.resume();
  await until(() => gateway.connections()[0]?.published === 30_000);
});

test("a right that is counted is counted for each message that goes, and no other", async () => {
  const { enter, authority } = await gatewayWorld({ a: { ...jobs.a, limit: 2 } });
  const peer = await enter();
  peer.say("PUB build.x not.mine 0\r\n\r\n");
  peer.say("PUB build.x 0\r\n\r\n".repeat(4));
  peer.say("PING\r\n");
  await peer.until("PONG");
  expect(authority.counted).toBe(2);
  expect(authority.rows()).toHaveLength(2);
  expect(authority.of("decision").map(({ reason }) => reason)).toEqual([
    "subject_refused",
    "limit_exceeded",
    "limit_exceeded",
  ]);
});

test("too many subscriptions: the next one is denied", async () => {
  const { enter, authority } = await gatewayWorld(jobs, { limits: { subscriptions: 2 } });
  const peer = await enter();
  peer.say(
    "SUB build.a 1\r\nSUB _INBOX.a 2\r\nSUB build.b 3\r\nSUB _INBOX.b 4\r\nUNSUB 1\r\nSUB build.b 5\r\nPING\r\n",
  );
  await peer.until("PONG");
  expect(peer.heard.match(/a connection has at most 2 subscriptions/g)).toHaveLength(2);
  expect(authority.of("nats.subscribed").map(({ sid }) => sid)).toEqual(["1", "2", "5"]);
});

test("a late message of a subscription that ended is not taken for one of its successor", async () => {
  const { enter, server, gateway } = await gatewayWorld(jobs);
  const peer = await enter();
  peer.say("SUB build.a 1\r\nUNSUB 1\r\nSUB build.b 1\r\nPING\r\n");
  await peer.until("PONG");
  server.last.say("MSG build.a 1 3\r\nold\r\nMSG build.b 2 3\r\nnew\r\n");
  await peer.until("new");
  expect(peer.heard).not.toContain("old");
  expect(peer.heard).toContain("MSG build.b 1 3\r\nnew\r\n");
  expect(gateway.connections()).toMatchObject([{ delivered: 1 }]);
});

test("a subscription that ends after so many messages gets no more, and its count is written down", async () => {
  const { enter, server, authority } = await gatewayWorld(jobs);
  const peer = await enter();
  peer.say("SUB build.a 1\r\nUNSUB 1 2\r\nPING\r\n");
  await peer.until("PONG");
  server.last.say("MSG build.a 1 1\r\n1\r\nMSG build.a 1 1\r\n2\r\nMSG build.a 1 1\r\n3\r\n");
  await peer.until("2\r\n");
  await until(() => authority.of("nats.delivered").length === 1);
  expect(authority.of("nats.delivered")).toMatchObject([{ messages: 2, bytes: 2, sid: "1" }]);
  expect(peer.heard).not.toContain("3\r\n");
  peer.say("SUB build.b 1\r\nPING\r\n");
  await until(() => authority.of("nats.subscribed").length === 2);
});

test.each(["é", "\u00a0", "\u0085", "\u2028", "\u3000", "\ufeff"])(
  "%j in a subject of somebody past the gateway ends nobody's connection",
  async (letter) => {
    const { enter, server, faults } = await gatewayWorld(jobs);
    const peer = await enter();
    peer.say("SUB build.> 1\r\nPING\r\n");
    await peer.until("PONG");
    const message = Buffer.from(`MSG build.a${letter}b 1 re${letter}ply 1\r\nx\r\n`).toString("latin1");
    server.last.say(`${message}MSG build.c 1 4\r\nlast\r\n`);
    expect(await peer.until("last\r\n")).toBe(`PONG\r\n${message}MSG build.c 1 4\r\nlast\r\n`);
    expect(faults).toEqual([]);
  },
);

test("an error of the server is passed on, and recorded", async () => {
  const { enter, server, authority, end } = await gatewayWorld(jobs);
  const peer = await enter();
  server.last.say("-ERR 'Permissions Violation for Publish to \"build.x\"'\r\n");
  await peer.until("-ERR 'Permissions Violation for Publish to \"build.x\"'");
  expect(authority.of("nats.refused")).toMatchObject([{ code: "server_refused" }]);
  server.last.say("-ERR 'Slow Consumer'\r\n");
  server.last.socket.end();
  expect(await end()).toMatchObject({ detail: "nats-server closed the connection: Slow Consumer" });
});

test.each([
  ["what cannot be read", "HELLO\r\n"],
  ["a message with a wrong size", "MSG build.a 1 1\r\nlonger\r\n"],
])("a server that says %s: the connection ends", async (_, said) => {
  const { enter, server, end } = await gatewayWorld(jobs);
  const peer = await enter();
  server.last.say(said);
  expect(await peer.gone()).toContain("what the server said cannot be read");
  expect(await end()).toMatchObject({ reason: "server_closed" });
});

test("a server that closes: the client is told to come again", async () => {
  const { enter, server, end } = await gatewayWorld(jobs);
  const peer = await enter();
  server.last.socket.end();
  expect(await peer.gone()).toBe(
    "-ERR 'Permissions Violation: the connection ends: nats-server closed the connection; reconnect'\r\n",
  );
  expect(await end()).toMatchObject({ reason: "server_closed" });
});

test("an exception inside the gateway is an outage for that connection alone, and nothing goes on after it", async () => {
  const { enter, authority, faults, server } = await gatewayWorld(jobs);
  const [peer, other] = [await enter(), await enter()];
  const { decide } = authority;
  authority.decide = () => {
    throw new TypeError("a mistake");
  };
  peer.say("PUB build.new 0\r\n\r\n");
  expect(await peer.gone()).toContain("the gateway failed: an outage");
  authority.decide = decide;
  other.say("PUB build.x 0\r\n\r\nPING\r\n");
  await other.until("PONG");
  expect(faults).toHaveLength(1);
  expect(server.connections.filter(({ heard }) => heard.includes("build.new"))).toEqual([]);
});

test("a client that asks without end for PONGs that do not come is refused", async () => {
  const { enter, server } = await gatewayWorld(jobs);
  const peer = await enter();
  server.answers = false;
  peer.say("PING\r\n".repeat(10_001));
  expect(await peer.gone()).toContain("10000 PINGs wait for their answer");
});

test("PINGs of the server are answered by the client, not for it", async () => {
  const { enter, server } = await gatewayWorld(jobs);
  const peer = await enter();
  peer.say("PONG\r\nPONG\r\n"); // nobody asked
  server.last.say("PING\r\n");
  await peer.until("PING\r\n");
  await turn();
  expect(server.last.heard).toBe("");
  peer.say("PONG\r\nPONG\r\n");
  expect(await server.last.until("PONG\r\n")).toBe("PONG\r\n");
});

test("records behind the messages: a disk that is too far behind stops them", async () => {
  const fast = { a: { ...jobs.a, records: "fast" as const } };
  const { enter, authority, server } = await gatewayWorld(fast, { limits: { aheadMessages: 2 } });
  const peer = await enter();
  const settling = Promise.withResolvers<void>();
  authority.settling = settling.promise;
  for (let at = 0; at < 5; at++) {
    peer.say(`PUB build.${at} 0\r\n\r\n`);
    await until(() => authority.rows().length > at || server.last.heard.includes("build.1"));
    await turn();
  }
  expect(server.last.heard).not.toContain("build.4");
  settling.resolve();
  await server.last.until("build.4");
});

test("a client that leaves: what the server still sends is heard, so that both counts are whole", async () => {
  const totals = { received: { messages: 0, bytes: 0 }, sent: { messages: 1, bytes: 2 } };
  const control = { kick: async () => true, totals: async () => totals };
  const { enter, server, authority, end } = await gatewayWorld(jobs, { control });
  const peer = await enter();
  peer.say("SUB build.a 1\r\nPING\r\n");
  await peer.until("PONG");
  server.answers = false;
  peer.socket.end();
  await server.last.until("UNSUB 1\r\nPING\r\n");
  server.last.say("MSG build.a 1 2\r\nhi\r\nPONG\r\n");
  expect(await end()).toMatchObject({ reason: "client_closed", delivered: { messages: 0 }, server: totals });
  expect(authority.of("nats.mismatch")).toEqual([]);
});

test.each([
  ["a server that counted less than was forwarded, though all was drained", { messages: 0, bytes: 0 }, true],
  ["a server that counted the same", { messages: 1, bytes: 118 }, false],
] as const)("%s", async (_, received, contradiction) => {
  const control = { kick: async () => true, totals: async () => ({ received, sent: { messages: 0, bytes: 0 } }) };
  const { enter, authority, end } = await gatewayWorld(jobs, { control });
  const peer = await enter();
  peer.say("PUB build.a 2\r\nhi\r\nPING\r\n");
  await peer.until("PONG");
  peer.socket.end();
  const final = await end();
  expect(final?.published).toEqual({ messages: 1, bytes: 118 });
  expect(authority.of("nats.mismatch")).toHaveLength(contradiction ? 1 : 0);
});
