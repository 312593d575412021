import { expect, onTestFinished, test } from "vitest";
import { gatewayWorld, until } from "./gateway.fake.ts";
import { openUpstream } from "./upstream.ts";

const jobs = { a: { password: "a", allow: [] } };
const after = (ms: number, run: () => void) => {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
};
const times = { after, timeoutMs: 1_000, patienceMs: 0, now: () => performance.now() };
const attach = async () => ({ ticket: "t", proxySignature: "" });
const wishes = { label: "a", echo: true, noResponders: true, attach };

async function open(more: Partial<Parameters<typeof openUpstream>[0]>, signal = new AbortController().signal) {
  const upstream = await openUpstream({ ...times, servers: [], random: () => 0, ...more }, wishes, signal);
  onTestFinished(() => void upstream.socket.destroy());
  return upstream;
}

test("servers that are away are passed over, in the order of chance", async () => {
  const { server } = await gatewayWorld(jobs);
  const away = { host: "127.0.0.1", port: 1 };
  const numbers = [0.1, 0.9];
  const random = () => numbers.shift() ?? 0;
  const { info } = await open({ servers: [away, { host: "127.0.0.1", port: server.port }], random });
  expect(info.serverId).toBe("NSERVER");
  await expect(open({ servers: [away] })).rejects.toMatchObject({
    code: "broker_unreachable",
    message: "the server at 127.0.0.1:1 cannot be used (ECONNREFUSED)",
  });
  await expect(open({})).rejects.toThrow("no nats-server is configured");
});

test("a server that comes back in time is used", async () => {
  const { server } = await gatewayWorld(jobs);
  server.info = { ...server.info, headers: undefined };
  const info = { ...server.info, headers: true };
  const servers = [{ host: "127.0.0.1", port: server.port }];
  await expect(open({ servers, patienceMs: 60_000 })).rejects.toThrow("takes no headers"); // it will not take them soon
  server.info = info;
  server.answers = false;
  const opening = open({ servers, timeoutMs: 50, patienceMs: 5_000 });
  await until(() => server.connections.length >= 3);
  server.answers = true;
  expect((await opening).info.cid).toBe(7);
});

test.each([
  ["a refusal of the callout", "-ERR 'Authorization Violation'\r\n", "refused the gateway's ticket"],
  ["a callout that is late", "-ERR 'Authentication Timeout'\r\n", "waited too long for its auth callout"],
  [
    "another refusal",
    "-ERR 'maximum connections exceeded'\r\n",
    "refused the connection: maximum connections exceeded",
  ],
  ["a message before its time", "MSG a 1 0\r\n\r\n", "sent a message before it was asked for one"],
  ["what is no NATS", "HELLO\r\n", "an operation that the gateway does not know"],
] as const)("%s: the reason in words", async (_, said, why) => {
  const { server } = await gatewayWorld(jobs);
  server.answers = false;
  const opening = open({ servers: [{ host: "127.0.0.1", port: server.port }] });
  opening.catch(() => undefined);
  await until(() => server.connections.length === 1 && server.last.heard.includes("PING"));
  server.last.say(said);
  await expect(opening).rejects.toMatchObject({ code: "broker_unreachable", message: expect.stringContaining(why) });
  await server.last.gone();
});

test("an attach that is refused is passed on as it is, and the server is left", async () => {
  const { server } = await gatewayWorld(jobs);
  const refused = new Error("refused");
  const deps = { ...times, servers: [{ host: "127.0.0.1", port: server.port }], random: () => 0 };
  const refusing = { ...wishes, attach: () => Promise.reject(refused) };
  await expect(openUpstream(deps, refusing, new AbortController().signal)).rejects.toBe(refused);
  await server.last.gone();
  expect(server.last.heard).toBe("");
});

test("nobody waits any more: the connection is dropped at once", async () => {
  const { server } = await gatewayWorld(jobs);
  server.answers = false;
  const abort = new AbortController();
  const opening = open({ servers: [{ host: "127.0.0.1", port: server.port }], patienceMs: 60_000 }, abort.signal);
  opening.catch(() => undefined);
  await until(() => server.connections.length === 1 && server.last.heard.includes("PING"));
  abort.abort();
  await expect(opening).rejects.toThrow("no longer wanted");
  await server.last.gone();
});

test("a PING that comes with the answer is answered, and what the server says of itself is kept", async () => {
  const { server } = await gatewayWorld(jobs);
  server.answers = false;
  const opening = open({ servers: [{ host: "127.0.0.1", port: server.port }] });
  await until(() => server.connections.length === 1 && server.last.heard.includes("PING"));
  server.last.say(`INFO ${JSON.stringify({ server_id: "OTHER", max_payload: 5 })}\r\nPING\r\nPONG\r\n`);
  expect((await opening).info).toMatchObject({ serverId: "NSERVER", maxPayload: 5 });
  await server.last.until("PONG\r\n");
});
