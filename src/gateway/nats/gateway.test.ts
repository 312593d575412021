import { expect, onTestFinished, test } from "vitest";
import { connectLine, gatewayWorld, serverInfo, until } from "./gateway.fake.ts";

const jobs = {
  a: { password: "a", allow: ["pub build.>", "sub build.>"] },
  b: { password: "b", allow: ["pub build.>"] },
};

test("before anything else a client hears who we are, and nothing of who is behind", async () => {
  const { dial, server, port } = await gatewayWorld(jobs);
  const { info } = await dial();
  expect(info).toMatchObject({
    server_name: "nats-1",
    version: "2.12.7",
    headers: true,
    auth_required: true,
    max_payload: 1_044_480,
    port,
  });
  expect(info.nonce).toMatch(/^[\w-]{22}$/);
  expect(server.connections).toHaveLength(0);
});

const long = "x".repeat(40_000);

test.each([
  ["a PING", "PING\r\n", "the first line must be a CONNECT"],
  ["a message", "PUB build.x 0\r\n\r\n", "the first line must be a CONNECT"],
  ["HTTP", "GET / HTTP/1.1\r\n", "the first line must be a CONNECT"],
  ["CONNECT in lower case", 'connect {"auth_token":"a"}\r\n', "the first line must be a CONNECT"],
  ["a CONNECT that ends in LF alone", 'CONNECT {"auth_token":"a"}\n', "the first line must be a CONNECT"],
  ["broken JSON", 'CONNECT {"auth_token":}\r\n', "CONNECT is no JSON object"],
  ["no credential", "CONNECT {}\r\n", "no credential was sent"],
  ["a line without end", `CONNECT {"auth_token":"${long}`, "CONNECT is longer than 32768 bytes"],
  ["a CONNECT that is too long", connectLine({ auth_token: long }), "CONNECT is longer than 32768 bytes"],
])("%s first: told what is wrong, closed, recorded", async (_, said, detail) => {
  const { dial, authority, server } = await gatewayWorld(jobs);
  const peer = await dial();
  peer.say(said);
  expect(await peer.gone()).toMatch(/^-ERR 'Authorization Violation: [^'\r\n]*'\r\n$/);
  expect(peer.heard).toContain(detail);
  expect(authority.of("nats.refused")).toMatchObject([{ gateway: "nats-1", from: "127.0.0.1" }]);
  expect(JSON.stringify(authority.events)).not.toContain('auth_token"');
  expect([authority.admitted.length, server.connections.length]).toEqual([0, 0]);
});

test("a CONNECT may come byte by byte, and what follows it is kept", async () => {
  const { dial, server } = await gatewayWorld(jobs);
  const peer = await dial();
  for (const byte of connectLine({ auth_token: "a" })) peer.say(byte);
  peer.say("PUB build.x 1\r\nx\r\nPING\r\n");
  await peer.until("PONG");
  expect(server.last.heard).toContain("HPUB build.x ");
});

test("no CONNECT in time: told, closed, recorded", async () => {
  const { dial, authority } = await gatewayWorld(jobs, { limits: { connectMs: 20 } });
  const peer = await dial();
  peer.say("CONN");
  expect(await peer.gone()).toContain("no CONNECT came within 0.02 s");
  expect(authority.of("nats.refused")).toMatchObject([{ code: "connect_late" }]);
});

test("a credential that is refused: the client is told the authority's reason, and no server is reached", async () => {
  const { dial, authority, server } = await gatewayWorld(jobs);
  const peer = await dial();
  peer.say(connectLine({ auth_token: "wrong" }));
  expect(await peer.gone()).toBe("-ERR 'Authorization Violation: the password is not one of wayleave nats env'\r\n");
  expect([authority.events, server.connections]).toEqual([[], []]);
});

test("an authority that takes too long, or fails: an outage, not a refusal", async () => {
  const { dial, authority, faults } = await gatewayWorld(jobs, { limits: { admitMs: 20 } });
  authority.admitting = new Promise(() => undefined);
  const peer = await dial();
  peer.say(connectLine({ auth_token: "a" }));
  expect(await peer.gone()).toContain("-ERR 'Gateway Unavailable: the credential could not be verified in time");
  const failing = Promise.withResolvers<void>();
  authority.admitting = failing.promise;
  const other = await dial();
  other.say(connectLine({ auth_token: "a" }));
  await until(() => authority.admitted.length === 2);
  failing.reject(new TypeError("secret of the broker"));
  expect(await other.gone()).toContain("Gateway Unavailable: Something failed inside Wayleave");
  expect(other.heard).not.toContain("secret");
  expect(faults).toHaveLength(2);
});

test("a client that leaves while it is being verified costs nothing more", async () => {
  const { dial, authority, server, gateway } = await gatewayWorld(jobs);
  const admitting = Promise.withResolvers<void>();
  authority.admitting = admitting.promise;
  const peer = await dial();
  peer.say(connectLine({ auth_token: "a" }));
  await until(() => authority.admitted.length === 1);
  peer.socket.destroy();
  await peer.gone();
  admitting.resolve();
  await gateway.close();
  expect([server.connections.length, authority.attached.length]).toEqual([0, 0]);
});

test("a session that ends while its server is being reached: told, and the record of its connection is closed", async () => {
  const { dial, authority, end } = await gatewayWorld(jobs);
  const attaching = Promise.withResolvers<void>();
  authority.attaching = attaching.promise;
  const peer = await dial();
  peer.say(`${connectLine({ auth_token: "a" })}PUB build.x 0\r\n\r\n`);
  await until(() => authority.attached.length === 1);
  authority.end("a", "cancelled");
  expect(await peer.gone()).toContain("session ended: cancelled");
  attaching.resolve();
  expect(await end()).toMatchObject({ reason: "session_ended", published: { messages: 0 } });
  expect(authority.rows()).toEqual([]);
});

test("too many that are not admitted, from one address and in all", async () => {
  const { dial, authority, enter } = await gatewayWorld(jobs, { limits: { unadmitted: 3, unadmittedPerAddress: 2 } });
  await enter();
  await dial();
  await dial();
  const third = await dial();
  await third.gone();
  expect(authority.of("nats.refused")).toMatchObject([
    { code: "too_many_connections", detail: "too many from this address wait to be admitted: try again" },
  ]);
});

test("too many connections of one job, and of all", async () => {
  const { dial, enter } = await gatewayWorld(jobs, { limits: { connectionsPerSession: 1, connections: 2 } });
  await enter();
  const second = await dial();
  second.say(connectLine({ auth_token: "a" }));
  expect(await second.gone()).toContain("Authorization Violation: this job has 1 connections: close others first");
  await enter("b");
  const third = await dial();
  await until(() => third.closed);
});

test("a job that connects without end is told to wait", async () => {
  const { dial, enter, authority } = await gatewayWorld(jobs, { limits: { connectsPerSession: 2 } });
  for (let at = 0; at < 2; at++) (await enter()).socket.destroy();
  await until(() => authority.of("nats.disconnected").length === 2);
  const peer = await dial();
  peer.say(connectLine({ auth_token: "a" }));
  expect(await peer.gone()).toContain("this job connects too often: wait 10 s");
});

test("a flood of refusals makes a bounded number of records, and the next says how many there were", async () => {
  let at = 0;
  const clock = { now: Date.now, monotonic: () => at };
  const { dial, authority } = await gatewayWorld(jobs, { clock });
  for (let n = 0; n < 65; n++) {
    const peer = await dial();
    peer.say("PING\r\n");
    await peer.gone();
  }
  expect(authority.of("nats.refused")).toHaveLength(60);
  at = 60_000;
  const peer = await dial();
  peer.say("PING\r\n");
  await peer.gone();
  expect(authority.of("nats.refused").at(-1)?.detail).toContain("; 5 more before it were not recorded");
});

test("what the gateway says to the server is its own: nothing of the client's CONNECT but its wishes", async () => {
  const { dial, server, authority } = await gatewayWorld(jobs);
  authority.pass = () => ({ ticket: "wlt_1", proxySignature: "sig" });
  const peer = await dial();
  const more = { user: "events", name: "job\nx", echo: false, no_responders: true, headers: true, verbose: true };
  peer.say(`${connectLine({ auth_token: "a", evil: "PUB", nkey: "U", tls_required: true, ...more })}PING\r\n`);
  await peer.until("PONG");
  const [line = ""] = server.last.heard.split("\r\n");
  expect(JSON.parse(line.slice("CONNECT ".length))).toEqual({
    ...{ verbose: false, pedantic: false, tls_required: false, auth_token: "wlt_1", proxy_sig: "sig" },
    ...{ name: "job x (nc_0000000000000001)", lang: "wayleave", version: "1", protocol: 1 },
    ...{ echo: false, headers: true, no_responders: true },
  });
  expect(authority.attached).toEqual([{ serverId: "NSERVER", cid: 7, version: "2.15.1", nonce: "n" }]);
});

test("later words of the server about itself are passed on as our own", async () => {
  const { enter, server } = await gatewayWorld(jobs);
  const peer = await enter();
  const behind = { connect_urls: ["10.0.0.1:4222"], cluster: "c", xkey: "X", client_ip: "1.2.3.4", nonce: "theirs" };
  server.last.say(`INFO ${JSON.stringify({ ...serverInfo, ...behind, ldm: true, max_payload: 10_000 })}\r\n`);
  const heard = await peer.until("\r\n");
  const told = JSON.parse(heard.slice(5)) as Record<string, unknown>;
  expect(told).toMatchObject({ server_name: "nats-1", ldm: true, version: "2.15.1" });
  expect(told.max_payload).toBeLessThan(10_000);
  expect(heard).not.toMatch(/10\.0\.0\.1|cluster|xkey|client_ip|theirs/);
});

test("an address that is taken is told to who listens", async () => {
  const { port } = await gatewayWorld(jobs);
  const { createNatsGateway } = await import("./gateway.ts");
  const { FakeAuthority } = await import("./authority.fake.ts");
  const second = createNatsGateway({
    ...{ name: "nats-2", authority: new FakeAuthority({}), control: undefined, servers: [] },
    clock: { now: Date.now, monotonic: () => performance.now() },
    random: (bytes) => new Uint8Array(bytes),
    log: { fault: () => undefined },
  });
  onTestFinished(() => second.close());
  await expect(second.listen("127.0.0.1", port)).rejects.toMatchObject({ code: "EADDRINUSE" });
});
