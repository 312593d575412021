import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createSystemAccount, type SystemAccount } from "./system-account.ts";
import type { RefusedClient, ServerClient } from "./system-advisory.ts";
import { type FakeConnection, fakeConnection } from "./system-connection.fake.ts";

const one = `N${"A".repeat(55)}`;
const two = `N${"B".repeat(55)}`;
const account = `A${"C".repeat(55)}`;

let connection: FakeConnection;
let system: SystemAccount;
let now: number;
let strangers: ServerClient[];
let refused: RefusedClient[];
let faults: unknown[];
let onStranger: (client: ServerClient) => void;

beforeEach(() => {
  vi.useFakeTimers();
  now = 0;
  connection = fakeConnection();
  strangers = [];
  refused = [];
  faults = [];
  onStranger = (client) => strangers.push(client);
  system = createSystemAccount({
    connection,
    now: () => now,
    ownAccounts: ["SYS", "AUTH"],
    onStranger: (client) => onStranger(client),
    onRefused: (client) => refused.push(client),
    onFault: (error) => faults.push(error),
  });
});

afterEach(() => {
  system.close();
  vi.useRealTimers();
});

interface Told {
  readonly server?: unknown;
  readonly cid?: unknown;
  readonly acc?: unknown;
  readonly sent?: unknown;
  readonly received?: unknown;
}

const advisory = (told: Told = {}) =>
  JSON.stringify({
    server: { id: told.server ?? one },
    client: { id: told.cid ?? 7, acc: told.acc ?? account, user: "gitlab:job:7", host: "10.0.0.9" },
    sent: told.sent ?? { msgs: 3, bytes: 300 },
    received: told.received ?? { msgs: 5, bytes: 500 },
    reason: "Client Closed",
  });
const closes = (told: Told = {}) => connection.say("$SYS.ACCOUNT.X.DISCONNECT", advisory(told));
const comes = (told: Told = {}) => connection.say("$SYS.ACCOUNT.X.CONNECT", advisory(told));
const isRefused = (text: string) => connection.say("$SYS.SERVER.X.CLIENT.AUTH.ERR", text);

/** What the client sent, the server received. */
const serverTotals = { received: { messages: 3, bytes: 300 }, sent: { messages: 5, bytes: 500 } };

describe("totals", () => {
  test("of a connection that closed before they are asked for", async () => {
    system.announce(one, 7);
    closes();
    expect(await system.totals(one, 7, 1000)).toEqual(serverTotals);
  });

  test("of a connection that closes after they are asked for", async () => {
    const told = system.totals(one, 7, 1000);
    closes();
    expect(await told).toEqual(serverTotals);
  });

  const nothing = async (serverId = one, cid = 7) => {
    const told = system.totals(serverId, cid, 1000);
    await vi.advanceTimersByTimeAsync(1000);
    return told;
  };

  test("are told once", async () => {
    system.announce(one, 7);
    closes();
    await system.totals(one, 7, 1000);
    expect(await nothing()).toBeUndefined();
  });

  test("undefined where the server says nothing in time", async () => {
    system.announce(one, 7);
    expect(await nothing()).toBeUndefined();
    closes();
    // What comes too late is kept for a second question.
    expect(await nothing()).toEqual(serverTotals);
  });

  test("undefined for another server's connection of the same number", async () => {
    system.announce(two, 7);
    closes({ server: two });
    expect(await nothing()).toBeUndefined();
  });

  test("undefined for one that nobody announced and nobody asked about", async () => {
    closes();
    expect(await nothing()).toBeUndefined();
  });

  test("undefined for one that closed long ago, once others closed since", async () => {
    system.announce(one, 7);
    closes();
    now = 61_000;
    system.announce(one, 8);
    closes({ cid: 8 });
    expect(await nothing()).toBeUndefined();
    expect(await nothing(one, 8)).toEqual(serverTotals);
  });

  test("asked for twice are told to the later one", async () => {
    const first = system.totals(one, 7, 1000);
    const second = system.totals(one, 7, 1000);
    closes();
    expect(await Promise.all([first, second])).toEqual([undefined, serverTotals]);
  });

  test.each([
    { what: "no counts", told: { sent: {} } },
    { what: "counts that are no numbers", told: { received: { msgs: "3", bytes: 1 } } },
    { what: "a server that is no key", told: { server: "N.>" } },
    { what: "a connection that is no number", told: { cid: "7" } },
    { what: "a broken number", told: { cid: 7.5 } },
  ])("undefined where the advisory has $what", async ({ told }) => {
    system.announce(one, 7);
    closes(told);
    expect(await nothing()).toBeUndefined();
  });

  test("closing tells who waits that there are none", async () => {
    const told = system.totals(one, 7, 1000);
    system.close();
    expect(await told).toBeUndefined();
    expect(connection.listening()).toEqual([]);
  });
});

describe("strangers", () => {
  test("are clients in a job's account that nobody announced", () => {
    comes();
    expect(strangers).toEqual([{ serverId: one, cid: 7, account, user: "gitlab:job:7", host: "10.0.0.9" }]);
  });

  test("are not those that were announced, at that server and by that number", () => {
    system.announce(one, 7);
    comes();
    expect(strangers).toEqual([]);
    comes({ cid: 8 });
    comes({ server: two });
    expect(strangers).toHaveLength(2);
  });

  test("are those whose number was announced, but for a connection that closed", () => {
    system.announce(one, 7);
    closes();
    comes();
    expect(strangers).toHaveLength(1);
  });

  test.each(["SYS", "AUTH"])("are none in %s", (acc) => {
    comes({ acc });
    expect(strangers).toEqual([]);
  });
});

describe("what a server refused", () => {
  test("is told without the name it came by, which may be a secret", () => {
    isRefused(advisory());
    expect(refused).toEqual([{ serverId: one, cid: 7, host: "10.0.0.9", reason: "Client Closed" }]);
  });
});

describe("a reader survives", () => {
  test.each(["", "null", "[]", "7", "{", '{"server":{}}', '{"server":null,"client":null}'])(
    "the advisory %j",
    (text) => {
      for (const subject of ["$SYS.ACCOUNT.X.CONNECT", "$SYS.ACCOUNT.X.DISCONNECT"])
        expect(connection.say(subject, text)).toBeUndefined();
      expect(isRefused(text)).toBeUndefined();
      expect([strangers, refused, faults]).toEqual([[], [], []]);
    },
  );

  test("a listener that throws, and says so", () => {
    onStranger = () => {
      throw new Error("no disk");
    };
    expect(comes()).toBeUndefined();
    expect(faults).toEqual([new Error("no disk")]);
  });

  test("a subscription that the server refuses, and says so", () => {
    connection.fail("$SYS.ACCOUNT.*.CONNECT");
    expect(faults).toHaveLength(1);
  });
});

describe("kick", () => {
  const kicks = (subject = `$SYS.REQ.SERVER.${one}.KICK`) =>
    connection.asked.filter(([asked]) => asked === subject).map(([, payload]) => payload);

  test("is a request to the very server, and true once it answers", async () => {
    connection.answers.set(`$SYS.REQ.SERVER.${one}.KICK`, () => ['{"error":{"code":500}}']);
    expect(await system.kick(one, 7)).toBe(true);
    expect(kicks()).toEqual(['{"cid":7}']);
  });

  test("is false at once where there is no such server", async () => {
    connection.answers.set(`$SYS.REQ.SERVER.${one}.KICK`, () => undefined);
    expect(await system.kick(one, 7)).toBe(false);
  });

  test("is false where the server does not answer", async () => {
    const done = system.kick(one, 7);
    await vi.advanceTimersByTimeAsync(2000);
    expect(await done).toBe(false);
  });

  test.each([
    ["*", 7],
    [">", 7],
    [`${one}.KICK.X`, 7],
    [one.toLowerCase(), 7],
    ["", 7],
    [one, 7.5],
    [one, Number.NaN],
  ])("asks nothing for server %j and connection %d", async (serverId, cid) => {
    expect(await system.kick(serverId, cid)).toBe(false);
    expect(connection.asked).toEqual([]);
  });
});

test("on a closed connection nothing is asked: kick is false, everything else rejects", async () => {
  connection.close();
  expect(await system.kick(one, 7)).toBe(false);
  for (const asking of [system.servers(), system.push("eyJ.x"), system.lookUp(account)])
    await expect(asking).rejects.toMatchObject({ code: "nats_unavailable" });
});

test("an answer that cannot be read ends the question, and not the connection's reader", async () => {
  connection.answers.set("$SYS.REQ.SERVER.PING", () => [null]);
  await expect(system.servers()).rejects.toMatchObject({ code: "nats_unavailable" });
});

describe("push", () => {
  const server = (id: string, name: string) => ({ id, name, ver: "2.15.1" });
  const servers = [server(one, "nats-1"), server(two, "nats-2")];
  const ping = "$SYS.REQ.SERVER.PING";
  const update = "$SYS.REQ.CLAIMS.UPDATE";
  const pings = (there = servers) =>
    connection.answers.set(ping, () => there.map((each) => JSON.stringify({ server: each })));
  const updates = (...said: readonly object[]) =>
    connection.answers.set(update, () => said.map((each) => JSON.stringify(each)));
  const took = { data: { code: 200 } };

  const push = async () => {
    const done = system.push("eyJ.x").then(
      () => "taken",
      (error: unknown) => error,
    );
    await vi.advanceTimersByTimeAsync(10_000);
    return done;
  };
  const unavailable = (words: RegExp) =>
    expect.objectContaining({ code: "nats_unavailable", message: expect.stringMatching(words) });

  test("is done when every server took it", async () => {
    pings();
    updates({ server: servers[0], ...took }, { server: servers[1], ...took });
    expect(await push()).toBe("taken");
  });

  test("asks who is there once, and again when one left", async () => {
    pings();
    updates({ server: servers[0], ...took }, { server: servers[1], ...took });
    const count = () => connection.asked.filter(([subject]) => subject === ping).length;
    await push();
    await push();
    expect(count()).toBe(1);
    connection.say("$SYS.SERVER.X.SHUTDOWN", "{}");
    await push();
    expect(count()).toBe(2);
  });

  test("fails where one server refuses, with its words", async () => {
    pings();
    const error = { code: 500, description: "jwt store is full\r\nx" };
    updates({ server: servers[0], ...took }, { server: servers[1], error });
    expect(await push()).toEqual(unavailable(/nats-2 refused an account: jwt store is full\?\?x/));
  });

  test("fails where one server is there and does not take it in time", async () => {
    pings();
    updates({ server: servers[0], ...took });
    expect(await push()).toEqual(unavailable(/nats-2 did not take an account in time/));
  });

  test("waits once for a server that is gone", async () => {
    pings();
    updates({ server: servers[0], ...took }, { server: servers[1], ...took });
    await push();
    pings(servers.slice(0, 1));
    updates({ server: servers[0], ...took });
    expect(await push()).toBe("taken");
    const before = Date.now();
    await system.push("eyJ.x");
    expect(Date.now() - before).toBeLessThan(1000);
  });

  test("waits for a server that came since", async () => {
    pings(servers.slice(0, 1));
    updates({ server: servers[0], ...took });
    expect(await push()).toBe("taken");
    pings();
    connection.say("$SYS.SERVER.X.STATSZ", JSON.stringify({ server: servers[0] }));
    expect(await push()).toBe("taken");
    connection.say("$SYS.SERVER.X.STATSZ", JSON.stringify({ server: servers[1] }));
    expect(await push()).toEqual(unavailable(/nats-2/));
  });

  test("asks again who is there where nobody was", async () => {
    pings([]);
    expect(await push()).toEqual(unavailable(/none is there/));
    pings();
    updates({ server: servers[0], ...took });
    expect(await push()).toEqual(unavailable(/nats-2/));
  });

  test.each([
    { what: "no server is there", answers: [] },
    { what: "an answer says nothing", answers: [{}] },
    { what: "an answer is refused without a reason", answers: [{ server: servers[0], data: { code: 500 } }] },
  ])("fails where $what", async ({ answers }) => {
    pings(servers.slice(0, 1));
    updates(...answers);
    expect(await push()).toEqual(unavailable(/account/));
  });

  test("fails where the same server answers twice and another not at all", async () => {
    pings();
    updates({ server: servers[0], ...took }, { server: servers[0], ...took });
    expect(await push()).toEqual(unavailable(/nats-2/));
  });

  test("looking up gives an answer for each server, empty for one that is silent", async () => {
    pings();
    connection.answers.set(`$SYS.REQ.ACCOUNT.${account}.CLAIMS.LOOKUP`, () => ["eyJ.x"]);
    const found = system.lookUp(account);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await found).toEqual(["eyJ.x", ""]);
  });
});
