import { connect as connectTcp, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { gatewayLab, rawClient, until } from "./nats-gateway-lab.ts";
import { startTcpProxy } from "./tcp-proxy.ts";

const jobs = {
  a: { password: "a", allow: ["pub build.>", "sub build.>"] },
  b: { password: "b", allow: ["pub build.>", "sub build.>"] },
};

/** Time is looked at every few milliseconds. */
const quickSweeps = (ms: number, run: () => void) => {
  const timer = setTimeout(run, ms === 1_000 ? 5 : ms);
  return () => clearTimeout(timer);
};

test("an ended session: told why, closed within milliseconds, kicked, and not let in again", async () => {
  const lab = await gatewayLab(jobs);
  const client = await lab.client("a");
  const other = await lab.client("b");
  const errors: string[] = [];
  (async () => {
    for await (const status of client.status()) if (status.type === "error") errors.push(status.error.message);
  })().catch(() => undefined);
  const closed = client.closed();
  const began = performance.now();
  lab.authority.end("a", "job finished");
  await closed;
  expect(performance.now() - began).toBeLessThan(250);
  expect(errors).toEqual(["Authorization Violation: session ended: job finished"]);
  await expect(lab.client("a")).rejects.toThrow("the session ended: job finished");
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  expect(lab.authority.of("nats.disconnected")).toMatchObject([{ reason: "session_ended", server: {} }]);
  expect(lab.kicked).toHaveLength(1);
  await other.flush();
});

test("what waits for its record when the session ends is never forwarded", async () => {
  const lab = await gatewayLab(jobs);
  const service = await lab.service();
  const heard: string[] = [];
  service.subscribe("build.>", { callback: (_, message) => void heard.push(message.string()) });
  await service.flush();
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  lab.authority.stall();
  raw.say("PUB build.x 5\r\nfirst\r\n");
  raw.say("PUB build.x 6\r\nsecond\r\n");
  await lab.until(() => raw.socket.bytesWritten > 0);
  await new Promise((resolve) => setImmediate(resolve));
  lab.authority.end("a");
  lab.authority.resume();
  await lab.until(() => raw.closed() && lab.authority.of("nats.disconnected").length === 1);
  await service.flush();
  expect(heard).toEqual([]);
  expect(lab.authority.of("nats.disconnected")).toMatchObject([
    { published: { messages: 0 }, server: { received: { messages: 0 } } },
  ]);
  expect(lab.authority.of("nats.mismatch")).toEqual([]);
});

test("what cannot be recorded is not forwarded: the client is told of an outage and cut off", async () => {
  const lab = await gatewayLab(jobs);
  const service = await lab.service();
  const heard: string[] = [];
  service.subscribe("build.>", { callback: (_, message) => void heard.push(message.string()) });
  await service.flush();
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  raw.say("PUB build.x 2\r\nok\r\nPING\r\n");
  await lab.until(() => raw.heard().includes("PONG"));
  lab.authority.appendFails = true;
  raw.say("PUB build.x 4\r\nlost\r\n");
  await lab.until(() => raw.closed());
  expect(raw.heard()).toContain("cannot be recorded: an outage, and no refusal; reconnect'");
  await service.flush();
  expect(heard).toEqual(["ok"]);
  expect(lab.kicked).toHaveLength(1);
  expect(lab.faults.length).toBeGreaterThan(0);
});

test.each(["fast"] as const)(
  "records %s: a journal that takes nothing more stops the client all the same",
  async (records) => {
    const lab = await gatewayLab({ a: { ...jobs.a, records } });
    const raw = await rawClient(lab.port);
    await raw.enter("a");
    lab.authority.appendFails = true;
    raw.say("PUB build.x 4\r\nlost\r\n");
    await lab.until(() => raw.closed());
    expect(raw.heard()).toContain("cannot be recorded");
    expect(lab.authority.rows()).toEqual([]);
  },
);

test("a policy that no longer allows a subscription ends it, there and at the server", async () => {
  const job = { password: "a", allow: ["sub build.>", "sub other.>"] };
  const lab = await gatewayLab({ a: job });
  const client = await lab.client("a");
  const gone = client.subscribe("build.>");
  const stays: string[] = [];
  client.subscribe("other.>", { callback: (_, message) => void stays.push(message.subject) });
  await client.flush();
  job.allow = ["sub other.>"];
  lab.authority.changed("a");
  expect(String(await gone.closed)).toContain('Permissions Violation for Subscription to "build.>"');
  const service = await lab.service();
  service.publish("build.x");
  service.publish("other.x");
  await lab.until(() => stays.length === 1);
  expect(lab.gateway.connections()).toMatchObject([{ delivered: 1, denied: 1 }]);
  expect(lab.authority.of("nats.unsubscribed")).toHaveLength(1);
});

test("a policy that allows more is in force with the next message, without a reconnect", async () => {
  const job = { password: "a", allow: ["pub build.x"] };
  const lab = await gatewayLab({ a: job });
  const client = await lab.client("a");
  client.publish("build.later");
  await client.flush();
  job.allow = ["pub build.later"];
  lab.authority.changed("a");
  client.publish("build.later");
  client.publish("build.x");
  await client.flush();
  expect(lab.authority.rows().map((row) => row.split(" ")[1])).toEqual(["build.later"]);
  expect(lab.authority.of("decision").map(({ operation }) => operation)).toEqual(["pub build.later", "pub build.x"]);
});

test("a suspended session is cut off and told to come again", async () => {
  const lab = await gatewayLab(jobs);
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  lab.authority.state = "suspended";
  lab.authority.changed("a");
  await lab.until(() => raw.closed());
  expect(raw.heard()).toContain("the session is suspended until its lease resumes; reconnect");
});

test("changed rights end the connection, and nats.js comes again by itself", async () => {
  const lab = await gatewayLab(jobs);
  const client = await lab.client("a", { reconnect: true, reconnectTimeWait: 10, maxReconnectAttempts: -1 });
  client.subscribe("build.>", { callback: () => undefined });
  await client.flush();
  lab.authority.tell({ kind: "rights", session: "ses_a000000000000000", why: "a role was added" });
  await lab.until(() => lab.authority.attached.length === 2 && lab.authority.of("nats.subscribed").length === 2);
  await client.flush();
  expect(lab.authority.of("nats.disconnected")).toMatchObject([
    { reason: "rights_changed", detail: "rights changed: a role was added" },
  ]);
});

test("a hard end is kept to the moment, also where it was renewed", async () => {
  const lab = await gatewayLab(jobs);
  lab.authority.setHardEnd("a", Date.now() + 150);
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  lab.authority.setHardEnd("a", Date.now() + 400);
  const until400 = Date.now() + 400;
  await lab.until(() => raw.closed());
  expect(Date.now()).toBeGreaterThanOrEqual(until400 - 10);
  expect(raw.heard()).toContain("the session is over");
});

test("a killed server: clients are told, and come again when it is back", async () => {
  const lab = await gatewayLab(jobs);
  const client = await lab.client("a", { reconnect: true, reconnectTimeWait: 20, maxReconnectAttempts: -1 });
  await client.flush();
  await lab.server().kill();
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  expect(lab.authority.of("nats.disconnected")).toMatchObject([{ reason: "server_closed" }]);
  expect(lab.kicked).toEqual([]);
  await lab.restart();
  await lab.until(() => lab.gateway.connections().length === 1);
  client.publish("build.again");
  await client.flush();
});

test("a client that does not read is disconnected after its time, and bounds what is held for it", async () => {
  const lab = await gatewayLab(jobs, { limits: { slowMs: 300 } });
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  raw.say("SUB build.> 1\r\nPING\r\n");
  await lab.until(() => raw.heard().includes("PONG"));
  raw.socket.pause();
  const service = await lab.service();
  const large = new Uint8Array(500_000);
  for (let at = 0; at < 60; at++) service.publish("build.x", large);
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  const [end] = lab.authority.of("nats.disconnected");
  expect(end).toMatchObject({ reason: "slow_reader" });
  expect(end?.delivered.messages).toBeLessThan(60);
  expect(lab.authority.of("nats.mismatch")).toEqual([]);
});

test("a client that fell silent without a word is found and dropped", async () => {
  const proxy = await startTcpProxy();
  onTestFinished(() => proxy.close());
  const lab = await gatewayLab(jobs, { limits: { pingMs: 50 }, after: quickSweeps });
  proxy.leadTo(`http://127.0.0.1:${lab.port}`);
  const raw = await rawClient(Number(new URL(proxy.url).port));
  await raw.enter("a");
  proxy.cut("silent");
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  expect(lab.authority.of("nats.disconnected")).toMatchObject([{ reason: "client_silent" }]);
});

test("a client that answers stays: our PINGs and the server's are not mixed up", async () => {
  const lab = await gatewayLab(jobs, { limits: { pingMs: 1 }, after: quickSweeps });
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  for (let asked = 1; asked <= 20; asked++) {
    await lab.until(() => raw.heard().split("PING\r\n").length > asked);
    raw.say("PONG\r\nPING\r\n");
  }
  await lab.until(() => raw.heard().split("PONG\r\n").length > 20);
  expect(raw.closed()).toBe(false);
});

test("messages sent just before the client leaves are forwarded all the same", async () => {
  const lab = await gatewayLab(jobs);
  const service = await lab.service();
  let heard = 0;
  service.subscribe("build.>", { callback: () => void heard++ });
  await service.flush();
  const socket = connectTcp(lab.port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.end(`CONNECT {"auth_token":"a"}\r\n${"PUB build.x 1\r\nx\r\n".repeat(5_000)}`);
  socket.resume();
  await lab.until(() => heard === 5_000);
  await lab.until(() => lab.authority.of("nats.disconnected").length === 1);
  expect(lab.authority.of("nats.disconnected")).toMatchObject([
    { reason: "client_closed", published: { messages: 5_000 }, server: { received: { messages: 5_000 } } },
  ]);
});

test("clients that leave, break off or are cut in full traffic: the two counts never contradict each other", async () => {
  const lab = await gatewayLab(jobs);
  const service = await lab.service();
  const payload = new Uint8Array(200);
  let flowing = true;
  const flow = async () => {
    while (flowing) {
      for (let at = 0; at < 200; at++) service.publish(`build.${at}`, payload);
      await service.flush();
    }
  };
  const flowed = flow();
  for (let round = 0; round < 6; round++) {
    for (const how of ["close", "destroy", "half-close"] as const) {
      const raw = await rawClient(lab.port);
      await raw.enter(how === "close" ? "a" : "b");
      raw.say("SUB build.> 1\r\n");
      raw.say("PUB build.mine 2\r\nhi\r\n".repeat(500));
      const enough = 20_000 * (1 + round);
      await lab.until(() => raw.socket.bytesRead > enough);
      if (how === "destroy") raw.socket.destroy();
      else raw.socket.end();
      await lab.until(() => raw.closed());
    }
  }
  const cut = await rawClient(lab.port);
  await cut.enter("a");
  cut.say("SUB build.> 1\r\n");
  cut.say("PUB build.mine 2\r\nhi\r\n".repeat(5_000));
  await lab.until(() => cut.socket.bytesRead > 100_000);
  lab.authority.end("a");
  await lab.until(() => lab.authority.of("nats.disconnected").length === 19);
  flowing = false;
  await flowed;
  expect(lab.authority.of("nats.mismatch")).toEqual([]);
  for (const { server, published, reason } of lab.authority.of("nats.disconnected")) {
    if (reason === "client_closed") expect(server?.received).toEqual(published);
    else expect(server?.received.messages).toBeLessThanOrEqual(published.messages);
  }
});

test("a gateway that shuts down forwards what it has, and tells its clients to come again", async () => {
  const lab = await gatewayLab(jobs);
  const raw = await rawClient(lab.port);
  await raw.enter("a");
  lab.authority.stall();
  raw.say("PUB build.x 1\r\nx\r\n");
  await lab.until(() => raw.socket.bytesWritten > 0);
  await lab.until(() => lab.authority.decided > 0);
  const closing = lab.gateway.close();
  lab.authority.resume();
  await closing;
  await lab.until(() => raw.closed());
  expect(raw.heard()).toContain("the gateway is shutting down; reconnect");
  expect(lab.authority.of("nats.disconnected")).toMatchObject([
    { reason: "gateway_closed", published: { messages: 1 }, server: { received: { messages: 1 } } },
  ]);
});

test("a server that stays away: the client is told that it is an outage", async () => {
  const lab = await gatewayLab(jobs, { limits: { upstreamPatienceMs: 300 } });
  await lab.server().kill();
  await expect(lab.client("b")).rejects.toThrow(/Gateway Unavailable: the server at 127.0.0.1:\d+ cannot be used/);
  await lab.restart();
});

/** A server that says whatever a test wants instead of nats-server. */
async function pretender(greeting: string, answer: (text: string, socket: Socket) => void) {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.write(greeting);
    socket.on("data", (chunk: Buffer) => answer(chunk.toString(), socket));
  }).listen(0, "127.0.0.1");
  await until(() => server.listening);
  onTestFinished(() => void server.close());
  const address = server.address();
  return { host: "127.0.0.1", port: typeof address === "object" && address !== null ? address.port : 0 };
}

const info = (more: object) =>
  `INFO ${JSON.stringify({ server_id: "N", version: "2.15.1", headers: true, max_payload: 1_048_576, client_id: 7, ...more })}\r\n`;

test.each([
  ["an old server", info({ version: "2.10.27" }), "is nats-server 2.10.27, older than 2.12.7: update it"],
  ["a server without headers", info({ headers: false }), "takes no headers"],
  ["a server that wants TLS", info({ tls_required: true }), "wants TLS: write its URL as tls://"],
  ["no server of NATS", "HTTP/1.1 400 Bad Request\r\n\r\n", "closed the connection"],
  ["words before their time", `${info({})}INFO {}\r\n`, "closed the connection"],
] as const)("%s is not used, and the client hears why", async (_, greeting, why) => {
  const server = await pretender(greeting, () => undefined);
  const lab = await gatewayLab(jobs, { servers: [server], limits: { upstreamPatienceMs: 0 } });
  await expect(lab.client("a")).rejects.toThrow(why);
  expect(lab.authority.attached).toEqual([]);
  expect(lab.authority.of("nats.refused")).toMatchObject([{ code: "broker_unreachable" }]);
});

test("a server that refuses the ticket: the client is told that it is not its fault, and both ends are recorded", async () => {
  const server = await pretender(info({}), (_, socket) => socket.end("-ERR 'Authorization Violation'\r\n"));
  const lab = await gatewayLab(jobs, { servers: [server], control: undefined, limits: { upstreamPatienceMs: 0 } });
  await expect(lab.client("a")).rejects.toThrow("Gateway Unavailable: nats-server refused the gateway’s ticket");
  expect(lab.authority.of("nats.disconnected")).toMatchObject([{ reason: "outage", published: { messages: 0 } }]);
});

test("a server that counted more than was forwarded: an anomaly", async () => {
  const lab = await gatewayLab(jobs, {
    control: {
      kick: async () => true,
      totals: async () => ({ received: { messages: 2, bytes: 300 }, sent: { messages: 0, bytes: 0 } }),
    },
  });
  const client = await lab.client("a");
  client.publish("build.x");
  await client.flush();
  await client.close();
  await lab.until(() => lab.authority.of("nats.mismatch").length === 1);
  expect(lab.authority.of("nats.mismatch")).toMatchObject([
    { gateway_counts: { published: { messages: 1 } }, server_counts: { received: { messages: 2 } } },
  ]);
});
