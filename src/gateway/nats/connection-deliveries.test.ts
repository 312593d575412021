import { expect, test } from "vitest";
import { gatewayWorld, until } from "./gateway.fake.ts";

const turns = async () => {
  for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setImmediate(resolve));
};
const job = (more: object = {}) => ({ password: "a", allow: ["sub build.>", "pull S.C"], ...more });
const inbox = "_INBOX_a000000000000000";
const fetched = (sequence: number, payload: string) =>
  `MSG ${inbox}.x 1 $JS.ACK.S.C.1.${sequence}.${sequence}.1700000000000000000.0 ${payload.length}\r\n${payload}\r\n`;

async function listening(more: object = {}, said = "SUB build.> 1\r\n") {
  const held = job(more);
  const world = await gatewayWorld({ a: held });
  const peer = await world.enter();
  peer.say(`${said}PING\r\n`);
  await peer.until("PONG");
  return { ...world, peer, job: held };
}

test.each([
  ["an unknown operation", "BAD\r\n"],
  ["a second CONNECT", "CONNECT {}\r\n"],
])(
  "what a subscription was delivered is recorded, though the client ends both it and, by %s, the connection",
  async (_, bytes) => {
    const { server, peer, authority, end } = await listening();
    server.last.say("MSG build.x 1 6\r\nsecret\r\n");
    await peer.until("secret\r\n");
    peer.say(`UNSUB 1\r\n${bytes}`);
    await peer.gone();
    expect((await end())?.delivered.messages).toBe(1);
    expect(authority.of("nats.delivered")).toMatchObject([{ sid: "1", messages: 1, bytes: 6 }]);
  },
);

test("where each delivery has its row, it is durable first, though its subscription ends meanwhile", async () => {
  const { server, peer, authority } = await listening({ deliveries: "full" });
  const rows = () => authority.of("nats.delivered").flatMap(({ each }) => each ?? []);
  const gates: (() => void)[] = [];
  const append = authority.append.bind(authority);
  authority.append = async (events) => {
    await new Promise<void>((resolve) => gates.push(resolve));
    await append(events);
  };
  server.last.say("MSG build.one 1 3\r\none\r\n");
  await until(() => gates.length === 1);
  server.last.say("MSG build.two 1 3\r\ntwo\r\n");
  await turns();
  peer.say("UNSUB 1\r\n");
  await until(() => gates.length === 2);
  gates[0]?.();
  await until(() => gates.length === 3);
  expect([peer.heard.includes("one"), peer.heard.includes("two"), rows()]).toEqual([true, false, ["build.one - 0 3"]]);
  authority.append = append;
  for (const open of gates) open();
  await peer.until("two\r\n");
  expect(rows()).toEqual(["build.one - 0 3", "build.two - 0 3"]);
});

test("rows of one record are bounded by their characters too", async () => {
  const { server, peer, authority } = await listening({ deliveries: "full" });
  const subject = `build.${"x".repeat(1_000)}`;
  authority.stall();
  for (let at = 0; at < 600; at++) server.last.say(`MSG ${subject} 1 1\r\n${at % 10}\r\n`);
  server.last.say("MSG build.last 1 4\r\nlast\r\n");
  await turns();
  authority.resume();
  await peer.until("last\r\n");
  const records = authority.of("nats.delivered").map(({ each = [] }) => each.join("").length);
  expect(Math.max(...records)).toBeLessThan(300_000);
});

const fetching = `SUB _INBOX.x 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.C _INBOX.x 2\r\n{}\r\n`;

test("what was fetched before policy took the consumer away does not come any more, and that is recorded once", async () => {
  const { server, peer, authority, job: held, gateway } = await listening({}, fetching);
  server.last.say(fetched(1, "before"));
  await peer.until("before\r\n");
  held.allow = ["sub build.>"];
  authority.changed("a");
  server.last.say(`${fetched(2, "after")}${fetched(3, "after")}MSG ${inbox}.x 1 4\r\nelse\r\n`);
  expect(await peer.until("else\r\n")).not.toContain("after");
  const denied = authority.of("decision").filter(({ operation }) => operation === "pull S.C");
  expect(denied).toMatchObject([{ outcome: "deny", reason: "no_role" }]);
  expect(gateway.connections()).toMatchObject([{ delivered: 2 }]);
});

test("a fetch under a condition is asked about with each message", async () => {
  const { server, peer, authority, job: held } = await listening({ conditional: true }, fetching);
  server.last.say(fetched(1, "before"));
  await peer.until("before\r\n");
  held.allow = []; // as time does: nobody says so
  server.last.say(`${fetched(2, "after")}MSG ${inbox}.x 1 4\r\nelse\r\n`);
  expect(await peer.until("else\r\n")).not.toContain("after");
  expect(authority.of("decision")).toHaveLength(1);
});

test("an observed target and a limit take nothing back of what was asked for", async () => {
  const observed = await listening({ mode: "observe", allow: [] }, fetching);
  observed.server.last.say(fetched(1, "observed"));
  await observed.peer.until("observed\r\n");
  const limited = await listening({ limit: 1 }, fetching);
  limited.server.last.say(fetched(1, "limited"));
  await limited.peer.until("limited\r\n");
});

test("the server's last word is told in ours: after its own, not every client comes again", async () => {
  const { server, peer, end } = await listening();
  server.last.say("-ERR 'User Authentication Expired'\r\n");
  server.last.socket.end();
  const said = await peer.gone();
  expect(said.match(/-ERR '[^']*'/g)).toEqual([expect.stringMatching(/^-ERR 'Permissions Violation: .*; reconnect'$/)]);
  expect(await end()).toMatchObject({ reason: "server_closed", detail: expect.stringContaining("Expired") });
});

test("what a client does is written in pieces that are bounded, however small its operations are", async () => {
  const { authority, enter } = await gatewayWorld({ a: job() });
  const peer = await enter();
  const sizes: number[] = [];
  const append = authority.append.bind(authority);
  authority.append = (events) => {
    sizes.push(events.length);
    return append(events);
  };
  peer.say("SUB build.> 1\r\nPING\r\n");
  await peer.until("PONG");
  authority.stall();
  peer.say("UNSUB 1 5\r\nUNSUB 1 6\r\n".repeat(50_000));
  await turns();
  await turns();
  authority.resume();
  await until(() => authority.of("nats.unsubscribed").length === 100_000);
  expect(Math.max(...sizes)).toBeLessThan(15_000);
});
