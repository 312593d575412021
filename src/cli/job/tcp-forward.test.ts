import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import { type ForwardOptions, forwardRoutes, forwardToTarget, parseForwardOption } from "./tcp-forward.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

test("an option names a target and a port", () => {
  expect(parseForwardOption("db=5432")).toEqual({ name: "db", port: 5432 });
  expect(parseForwardOption("billing_db=0")).toEqual({ name: "billing_db", port: 0 });
});

test.each(["", "db", "db=", "=5432", "db=70000", "db=-1", "db=host:5432", "db=5432 ", "DB=5432", "../db=1"])(
  "%j names none",
  (text) => {
    expect(() => parseForwardOption(text)).toThrow("is not understood");
  },
);

const targets = [
  { name: "db", kind: "tcp", hosts: [] },
  { name: "billing", kind: "http", hosts: ["billing.internal"] },
];
const routes = (name: string, env: Record<string, string>, gateway?: string) =>
  forwardRoutes({ env }, targets, [{ name, port: 0 }], gateway === undefined ? [] : [{ name, gateway }]);

test("the proxy's address comes from --target, or from the environment", () => {
  const env = { WAYLEAVE_TARGET_DB_URL: "https://proxy.example:8780" };
  expect(routes("db", env)[0]).toMatchObject({ variable: "DB", gateway: { host: "proxy.example:8780" } });
  expect(routes("db", env, "https://other.example")[0]).toMatchObject({ gateway: { host: "other.example" } });
});

test.each([
  ["db", {}, undefined, "Where is the proxy of db?"],
  ["billing", {}, "https://proxy.example", "names billing as a tcp target"],
  ["vault", {}, "https://proxy.example", "names vault as a tcp target"],
  ["db", {}, "http://proxy.example", "must be https"],
  ["db", {}, "https://proxy.example/x", "must be https"],
  ["db", {}, "https://user@proxy.example", "must be https"],
])("%s with %j and %s: %s", (name, env, gateway, said) => {
  expect(() => routes(name, env, gateway)).toThrow(said);
});

/** A forward to a proxy that answers each CONNECT as the test says, and what it told. */
async function forwardTo(answer: (socket: Socket, head: string) => void, change: Partial<ForwardOptions> = {}) {
  const proxy = createServer((socket) => {
    socket.on("error", () => undefined).once("data", (head) => answer(socket, head.toString("latin1")));
  });
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  const told: string[] = [];
  const gateway = new URL(`http://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
  const forward = await forwardToTarget({
    route: { name: "db", variable: "DB", port: 0, gateway },
    ca: undefined,
    token: async () => "the-token",
    onRefusal: (record, { target, operation, reason }) => told.push(`${record} ${target} ${operation} ${reason}`),
    onOutage: (detail) => told.push(detail),
    ...change,
  });
  closers.push(() => void proxy.close(), forward.close);
  const [host, port] = forward.address.split(":");
  const socket = connect(Number(port), host);
  socket.on("error", () => undefined);
  return { socket, told };
}

test("bytes go both ways once the proxy agreed, and whoever closes first closes all", async () => {
  let asked = "";
  const { socket, told } = await forwardTo((proxy, head) => {
    asked = head;
    proxy.write("HTTP/1.1 200 Connection established\r\nX-Wayleave-Record: rec_1\r\n\r\nwelcome ");
    proxy.on("data", (chunk) => proxy.end(chunk));
  });
  socket.write("hello");
  let text = "";
  for await (const chunk of socket) text += chunk;
  expect(text).toBe("welcome hello");
  expect(asked).toBe("CONNECT db:1 HTTP/1.1\r\nHost: db:1\r\nAuthorization: Bearer the-token\r\n\r\n");
  expect(told).toEqual([]);
});

const denied = "X-Wayleave-Decision: deny\r\nX-Wayleave-Reason: no_role\r\nX-Wayleave-Record: rec_9\r\n";
test.each([
  ["a denial", `HTTP/1.1 403 Forbidden\r\n${denied}\r\n{}`, "rec_9 db connect no_role"],
  ["a dead service", "HTTP/1.1 502 Bad Gateway\r\nX-Wayleave-Upstream: unreachable\r\n\r\n", "(502)"],
  ["an outage", "HTTP/1.1 503 X\r\nX-Wayleave-Decision: outage\r\nX-Wayleave-Record: \r\n\r\n", "(503)"],
  ["no HTTP", "hello\r\n\r\n", "(0)"],
  ["no answer", "", "did not answer"],
  ["an endless head", "x".repeat(20_000), "did not answer"],
])("%s closes the connection and is told", async (_name, bytes, said) => {
  const { socket, told } = await forwardTo((proxy) => void proxy.end(bytes));
  await once(socket, "close");
  expect(told).toHaveLength(1);
  expect(told[0]).toContain(said);
  expect(JSON.stringify(told)).not.toContain("the-token");
});

test("without a token nothing is connected to", async () => {
  const { socket, told } = await forwardTo(() => undefined, {
    token: async () => {
      throw new WayleaveError("session_ended", "The session is over.");
    },
  });
  await once(socket, "close");
  expect(told).toEqual(["The session is over."]);
});

test("a port that is taken is said", async () => {
  const taken = createServer();
  await once(taken.listen(0, "127.0.0.1"), "listening");
  closers.push(() => void taken.close());
  const { port } = taken.address() as AddressInfo;
  const route = { name: "db", variable: "DB", port, gateway: new URL("http://127.0.0.1:1") };
  await expect(forwardTo(() => undefined, { route })).rejects.toThrow(`port ${port} cannot be had`);
});
