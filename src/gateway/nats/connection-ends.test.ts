import { expect, test } from "vitest";
import { connectLine, gatewayWorld, until } from "./gateway.fake.ts";
import type { ServerControl } from "./ports.ts";

const jobs = { a: { password: "a", allow: ["pub build.>", "sub build.>", "pull S.C"] } };
const turn = () => new Promise((resolve) => setImmediate(resolve));

function control(totals?: Awaited<ReturnType<ServerControl["totals"]>>) {
  const kicked: string[] = [];
  const kick = async (serverId: string, cid: number) => kicked.push(`${serverId}/${cid}`) > 0;
  return { kicked, kick, totals: async () => totals };
}

/** Timers that run when told to, in no time. */
function manualTime() {
  let now = 0;
  const due = new Set<{ readonly at: number; readonly run: () => void }>();
  return {
    clock: { now: () => Date.now() + now, monotonic: () => now },
    after: (ms: number, run: () => void) => {
      const timer = { at: now + ms, run };
      due.add(timer);
      return () => void due.delete(timer);
    },
    pass(ms: number) {
      const end = now + ms;
      for (;;) {
        const [next] = [...due].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
        if (next === undefined) break;
        due.delete(next);
        now = Math.max(now, next.at);
        next.run();
      }
      now = end;
    },
  };
}

test("an end: both sides at once, the last word first, the server told, the record written", async () => {
  const watched = control();
  const { enter, authority, server, end } = await gatewayWorld(jobs, { control: watched });
  const peer = await enter();
  authority.end("a", "job finished");
  expect(await peer.gone()).toBe("-ERR 'Authorization Violation: session ended: job finished'\r\n");
  await server.last.gone();
  expect(await end()).toMatchObject({ reason: "session_ended", detail: "session ended: job finished", denied: 0 });
  expect(watched.kicked).toEqual(["NSERVER/7"]);
});

test("an end of one session leaves the others alone", async () => {
  const { enter, authority, gateway } = await gatewayWorld({ ...jobs, b: { password: "b", allow: [] } });
  await enter("a");
  const other = await enter("b");
  authority.end("a");
  await until(() => gateway.connections().length === 1);
  other.say("PING\r\n");
  await other.until("PONG");
});

test("what waits behind an unfinished write when the end comes is neither forwarded nor recorded as published", async () => {
  const { enter, authority, server, end } = await gatewayWorld(jobs);
  const peer = await enter();
  authority.stall();
  peer.say("PUB build.first 0\r\n\r\n");
  await until(() => authority.decided > 0);
  await turn();
  peer.say("PUB build.second 0\r\n\r\nPUB no.right 0\r\n\r\n");
  await until(() => authority.decided > 1);
  await turn();
  authority.end("a");
  await peer.gone();
  authority.resume();
  expect(await end()).toMatchObject({ published: { messages: 0 } });
  expect(authority.rows().map((row) => row.split(" ")[1])).toEqual(["build.first"]);
  expect(authority.of("decision")).toMatchObject([{ operation: "pub no.right" }]);
  expect(server.last.heard).not.toContain("PUB");
});

test("a session whose time is over does nothing more, though nobody said so", async () => {
  const { enter, authority, server } = await gatewayWorld(jobs);
  const peer = await enter();
  authority.setHardEnd("a", Date.now() - 1);
  peer.say("PUB build.x 0\r\n\r\n");
  expect(await peer.gone()).toContain("Authorization Violation: the session is over");
  expect(server.last.heard).not.toContain("PUB");
});

test("a change that nobody told of is found by the next look", async () => {
  const time = manualTime();
  const { enter, authority } = await gatewayWorld(jobs, time);
  const peer = await enter();
  peer.say("SUB build.x 1\r\nSUB _INBOX.x 2\r\nPING\r\n");
  await peer.until("PONG");
  authority.decide = (admission, operation) => ({
    ...Object.getPrototypeOf(authority).decide.call(authority, admission, operation),
    effect: "deny",
    reason: "no_role",
  });
  authority.epoch = () => 99;
  time.pass(1_000);
  expect(await peer.until("-ERR")).toContain('Permissions Violation for Subscription to "build.x"');
  expect(authority.of("nats.unsubscribed")).toMatchObject([{ sid: "1" }]);
});

test("a subscription with a condition is looked at again as time goes by, one without is not", async () => {
  const time = manualTime();
  const job = { ...jobs.a, conditional: true };
  const { enter, authority } = await gatewayWorld({ a: job }, time);
  const peer = await enter();
  peer.say("SUB build.x 1\r\nPING\r\n");
  await peer.until("PONG");
  job.allow = [];
  time.pass(1_000);
  await peer.until("-ERR");
  expect(authority.of("nats.unsubscribed")).toHaveLength(1);
});

test("a limit is about beginning to listen, not about going on", async () => {
  const { enter, authority } = await gatewayWorld({ a: { ...jobs.a, limit: 1 } });
  const peer = await enter();
  peer.say("SUB build.x 1\r\nSUB build.y 2\r\nPING\r\n");
  await peer.until("PONG");
  expect(authority.of("nats.subscribed")).toHaveLength(1);
  authority.changed("a");
  await turn();
  expect(authority.of("nats.unsubscribed")).toEqual([]);
});

test("an observed target never lets through what no policy could allow", async () => {
  const { enter, authority } = await gatewayWorld({ a: { ...jobs.a, mode: "observe" } });
  const peer = await enter();
  peer.say("SUB > 1\r\nSUB _INBOX_other.> 2\r\nSUB other.> 3\r\nPING\r\n");
  await peer.until("PONG");
  expect(authority.of("nats.subscribed")).toMatchObject([{ subject: "other.>", rule: "-" }]);
  expect(authority.of("decision").map(({ outcome }) => outcome)).toEqual(["deny", "deny", "would_deny"]);
});

test("more denials than a session may have end its connection and refuse its next ones, for a while", async () => {
  const time = manualTime();
  const { enter, dial, authority, end } = await gatewayWorld(jobs, { ...time, limits: { denials: 2 } });
  const peer = await enter();
  peer.say("PUB no.right 0\r\n\r\n".repeat(10));
  await until(() => peer.heard.includes("too many denied operations"));
  expect(await end()).toMatchObject({ reason: "too_many_denials", denied: 3 });
  expect(authority.of("decision")).toHaveLength(3);
  const next = await dial();
  next.say(connectLine({ auth_token: "a" }));
  await next.until("too many denied operations of this job: wait 10 s");
  time.pass(10_001);
  await enter();
});

test("an old server gets no ticket", async () => {
  const { dial, server, authority } = await gatewayWorld(jobs);
  server.info = { ...server.info, version: "2.10.27" };
  const peer = await dial();
  peer.say(connectLine({ auth_token: "a" }));
  expect(await peer.gone()).toMatch(/is nats-server 2\.10\.27, older than 2\.12\.7: update it'/);
  expect(authority.attached).toEqual([]);
});

test("what a client says before it is let in is bounded", async () => {
  const { dial, authority, gateway } = await gatewayWorld(jobs);
  const admitting = Promise.withResolvers<void>();
  authority.admitting = admitting.promise;
  const peer = await dial();
  peer.say(connectLine({ auth_token: "a" }));
  for (let at = 0; at < 20_000; at++) peer.say(`PUB build.x 1000\r\n${"x".repeat(1_000)}\r\n`);
  for (let at = 0; at < 50; at++) await turn();
  expect(peer.socket.writableLength).toBeGreaterThan(5_000_000);
  admitting.resolve();
  await until(() => gateway.connections()[0]?.published === 20_000);
});

test("a client that does not read makes the server wait, and is given up after its time", async () => {
  const time = manualTime();
  const { enter, server, end } = await gatewayWorld(jobs, time);
  const peer = await enter();
  peer.say("SUB build.x 1\r\nPING\r\n");
  await peer.until("PONG");
  peer.socket.pause();
  const message = `MSG build.x 1 1000\r\n${"x".repeat(1_000)}\r\n`;
  for (let at = 0; at < 30_000; at++) server.last.say(message);
  let before = -1;
  let same = 0;
  await until(() => {
    const now = server.last.socket.writableLength;
    same = now === before ? same + 1 : 0;
    before = now;
    return same > 200;
  });
  expect(before).toBeGreaterThan(10_000_000);
  time.pass(8_000);
  expect(await end()).toMatchObject({ reason: "slow_reader" });
});

test.each(["client", "server"] as const)("a %s that fell silent is asked twice and then given up", async (who) => {
  const time = manualTime();
  const { enter, server, end } = await gatewayWorld(jobs, { ...time, limits: { pingMs: 5_000 } });
  const peer = await enter();
  server.answers = who === "client";
  for (let at = 0; at < 4; at++) {
    time.pass(5_000);
    if (who === "server" && at < 3) peer.say("PONG\r\n");
    await turn();
    await turn();
  }
  expect(await end()).toMatchObject({ reason: `${who}_silent` });
});

test("an answer to an earlier question of ours does not end the wait for the last", async () => {
  const time = manualTime();
  const totals = { received: { messages: 0, bytes: 0 }, sent: { messages: 1, bytes: 2 } };
  const made = await gatewayWorld(jobs, { ...time, control: control(totals), limits: { pingMs: 1_000 } });
  const peer = await made.enter();
  peer.say("SUB build.a 1\r\nPING\r\n");
  await peer.until("PONG");
  made.server.answers = false;
  time.pass(1_000); // our own PING
  await made.server.last.until("PING\r\nPING\r\n");
  peer.socket.end();
  await made.server.last.until("UNSUB 1\r\nPING\r\n");
  made.server.last.say("PONG\r\n");
  await turn();
  await turn();
  made.server.last.say("MSG build.a 1 2\r\nhi\r\nPONG\r\n");
  expect(await made.end()).toMatchObject({ reason: "client_closed" });
  expect(made.authority.of("nats.mismatch")).toEqual([]);
});

test("a fetched message's own acknowledgement takes no place among replies to be answered", async () => {
  const { enter, server, authority } = await gatewayWorld(jobs, { limits: { permits: 1 } });
  const peer = await enter();
  peer.say("SUB _INBOX.f 1\r\nSUB build.x 2\r\nPING\r\n");
  await peer.until("PONG");
  server.last.say("MSG build.x 2 _INBOX_other.r 0\r\n\r\nMSG e.x 1 $JS.ACK.S.C.1.1.1.1.0 2\r\nhi\r\n");
  await peer.until("hi");
  peer.say("PUB _INBOX_other.r 0\r\n\r\nPUB $JS.ACK.S.C.1.1.1.1.0 4\r\n+ACK\r\nPING\r\n");
  await until(() => authority.rows().length === 2);
  expect(authority.rows().map((row) => row.split(" ").slice(0, 2))).toEqual([
    ["reply", "_INBOX_other.r"],
    ["role", "$JS.ACK.S.C.1.1.1.1.0"],
  ]);
});

test("counts of deliveries are written down while there is traffic, and nothing where there is none", async () => {
  const time = manualTime();
  const { enter, server, authority } = await gatewayWorld(jobs, time);
  const peer = await enter();
  peer.say("SUB build.x 1\r\nPING\r\n");
  await peer.until("PONG");
  server.last.say("MSG build.x 1 2\r\nhi\r\n");
  await peer.until("hi");
  time.pass(31_000);
  expect(authority.of("nats.delivered")).toMatchObject([{ messages: 1, bytes: 2 }]);
});

test("a journal that fails while the last record is written is told, and the gateway closes all the same", async () => {
  const { enter, authority, gateway, faults } = await gatewayWorld(jobs);
  const peer = await enter();
  authority.appendFails = true;
  await gateway.close();
  await peer.gone();
  expect(faults).toHaveLength(1);
});
