import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import { type AddressInfo, connect, createServer as createTcp, type Socket } from "node:net";
import { Client, credentials, Metadata, Server, ServerCredentials, type ServiceDefinition } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { httpTarget, type ProxyLab, startProxyLab } from "./proxy-lab.ts";

/** Everything that can stay open through the proxy ends with its session, its token or its policy. */
const raw = (value: Buffer) => value;
const builds: ServiceDefinition = {
  Watch: {
    path: "/acme.Builds/Watch",
    requestStream: true,
    responseStream: true,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  },
};

const policy = (more = "") => `
targets:
  billing: { http: { hosts: [127.0.0.1.nip.io] } }
  builds: { http: { hosts: [builds.internal] } }
  db: { tcp: { address: "127.0.0.1:${db.port}" } }
roles:
  stream:
    for: shop
    allow:
      billing: [{ op: GET /v1/feed, stream: true }, { op: POST /v1/upload, stream: true }]
      builds: [{ grpc: [acme.Builds/*], stream: true }]
      db: [connect]
${more}`;

let lab: ProxyLab;
const db = { port: 0, sockets: new Set<Socket>() };
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  const web = createServer((request) => request.resume());
  const sockets = new WebSocketServer({ server: web });
  sockets.on("connection", (socket) => socket.on("message", (message) => socket.send(message)));
  const grpc = new Server();
  grpc.addService(builds, {
    // biome-ignore lint/suspicious/noExplicitAny: a handler of a service that is described at run time
    Watch: (call: any) => void call.on("data", (message: Buffer) => call.write(message)).on("end", () => call.end()),
  });
  const grpcPort = await new Promise<number>((resolve, reject) =>
    grpc.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    ),
  );
  const tcp = createTcp((socket) => {
    db.sockets.add(socket.on("error", () => undefined));
    socket.pipe(socket);
  });
  await Promise.all([web, tcp].map((server) => once(server.listen(0, "127.0.0.1"), "listening")));
  db.port = (tcp.address() as AddressInfo).port;
  lab = await startProxyLab({
    policy: policy(),
    targets: [
      httpTarget("billing", (web.address() as AddressInfo).port),
      httpTarget("builds", 0, { upstream: { protocol: "http2", host: "127.0.0.1", port: grpcPort } }),
      { kind: "tcp", name: "db" },
    ],
  });
  closers.push(
    () => lab.close(),
    () => grpc.forceShutdown(),
    () => sockets.close(),
    () => web.closeAllConnections(),
    () => web.close(),
    () => tcp.close(),
  );
});
afterAll(async () => {
  for (const close of closers) await close();
});

let session = "";
let count = 0;
beforeEach(() => {
  lab.replace(policy());
  session = `s${++count}`;
  lab.open(session);
});
afterEach(() => {
  expect(lab.faults).toEqual([]);
});

/** Something open: `ended` resolves when its user learns of the end. */
interface Open {
  readonly ended: Promise<unknown>;
}

const kinds: Readonly<Record<string, () => Promise<Open>>> = {
  async websocket() {
    const socket = new WebSocket(`ws://127.0.0.1:${lab.port}/v1/feed`, {
      headers: { host: "127.0.0.1.nip.io", authorization: `Bearer ${session}` },
    });
    socket.on("error", () => undefined);
    await once(socket, "open");
    socket.send("hello");
    await once(socket, "message");
    return { ended: once(socket, "close") };
  },
  async "gRPC stream"() {
    const client = new Client(`127.0.0.1:${lab.port}`, credentials.createInsecure(), {
      "grpc.default_authority": "builds.internal",
    });
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${session}`);
    const call = client.makeBidiStreamRequest("/acme.Builds/Watch", raw, raw, metadata);
    const ended = new Promise((resolve) => call.on("status", resolve)).finally(() => client.close());
    call.on("error", () => undefined);
    call.write(Buffer.from("hello"));
    await once(call, "data");
    return { ended };
  },
  async upload() {
    const request = httpRequest({
      port: lab.port,
      method: "POST",
      path: "/v1/upload",
      headers: { host: "127.0.0.1.nip.io", authorization: `Bearer ${session}`, "content-length": 100_000_000 },
    });
    const ended = new Promise((resolve) => request.once("close", resolve).once("error", resolve));
    request.write(Buffer.alloc(100_000));
    while (lab.proxy.open() === 0) await new Promise(setImmediate);
    return { ended };
  },
  async "TCP connection"() {
    const socket = connect(lab.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write(`CONNECT db:1 HTTP/1.1\r\nHost: db:1\r\nAuthorization: Bearer ${session}\r\n\r\n`);
    const [head] = await once(socket, "data");
    expect(String(head)).toMatch(/^HTTP\/1\.1 200 /);
    socket.write("select 1");
    expect(String((await once(socket, "data"))[0])).toBe("select 1");
    return { ended: once(socket, "close") };
  },
};

const causes: Readonly<Record<string, () => void>> = {
  "its session ended": () => lab.change(session, { state: "ended", endedAt: Date.now() }),
  "its session was suspended": () => lab.change(session, { state: "suspended" }),
  "its token was revoked": () => lab.revoke(session),
  "policy took the right": () =>
    lab.replace(policy().replace(/roles:[\s\S]*/, "roles: { none: { for: shop, allow: { billing: [GET /x] } } }")),
  "a deny came": () => lab.replace(policy("deny: [{ for: { gitlab: { project: acme/shop } }, because: no }]")),
};

const measured: number[] = [];
const boundMs = 100;

for (const [kind, start] of Object.entries(kinds)) {
  test(`a ${kind} of another session goes on`, async () => {
    const { ended } = await start();
    lab.open("other");
    lab.change("other", { state: "ended" });
    lab.revoke("other");
    const first = await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 60, "open"))]);
    expect(first).toBe("open");
    lab.change(session, { state: "ended" });
    await ended;
  });

  for (const [cause, happen] of Object.entries(causes)) {
    test(`a ${kind} is cut when ${cause}`, async () => {
      const { ended } = await start();
      expect(lab.proxy.open()).toBe(1);
      happen();
      const from = performance.now();
      await ended;
      const ms = performance.now() - from;
      measured.push(ms);
      expect(ms).toBeLessThan(boundMs);
      expect(lab.proxy.open()).toBe(0);
      expect(lab.ends.at(-1)).toMatchObject({ by: "wayleave", open: { holder: { sessionId: `ses_${session}` } } });
    });
  }

  test(`a ${kind} is cut at its session's hard end`, async () => {
    lab.open(session, { hardEndAt: Date.now() + 150 });
    const { ended } = await start();
    await ended;
    expect(lab.ends.at(-1)).toMatchObject({ by: "wayleave", reason: "session_ended" });
  });
}

test("the measured ends of open streams", () => {
  const sorted = measured.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]?.toFixed(1);
  process.stdout.write(`streams cut after: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, of ${sorted.length}\n`);
  expect(sorted.length).toBeGreaterThan(0);
});
