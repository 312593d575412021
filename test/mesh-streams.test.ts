import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials, Metadata, Server, ServerCredentials, type ServiceError, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sendTlsBytes } from "./mesh-bytes.ts";
import { type EdgeEnvoy, edgeEnvoys, startEdgeEnvoy } from "./mesh-edge.ts";
import { edgeOf, type MeshJob, type MeshLab, openJob, startMeshWorld } from "./mesh-lab.ts";

/** Streams through a rendered Envoy: only where the operation says so, only WebSockets and gRPC, and never past the bound. */
const policyText = `version: 1
targets:
  billing: { http: { hosts: [billing.localhost] } }
  feeds: { http: { hosts: [feeds.localhost] } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  watch:
    for: [shop]
    allow:
      billing: [{ op: GET /v1/watch, stream: true }, GET /v1/plain]
      feeds: [{ op: POST /feeds.Feed/Watch, stream: true }, POST /feeds.Feed/Ask]
`;

/** The bound: no stream may outlive a token by more than its life. */
const boundMs = 3_000;
/** For a machine that is busy with something else. */
const slackMs = 500;

let folder: string;
let lab: Pick<MeshLab, "world" | "ci" | "close">;
let feeds: Server;
let chat: Chat;
let job: MeshJob;
const envoys: Record<"native" | "call_out", EdgeEnvoy | undefined> = { native: undefined, call_out: undefined };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wayleave-streams-"));
  writeFileSync(join(folder, "policy.yaml"), policyText);
  chat = await startChat();
  feeds = new Server();
  const port = await startFeeds(feeds);
  const upstreams = { billing: `127.0.0.1:${chat.port}`, feeds: `h2://127.0.0.1:${port}` };
  const both = { targets: ["billing", "feeds"], upstreams };
  lab = await startMeshWorld({
    policy: join(folder, "policy.yaml"),
    targets: ["billing"],
    settings: { sessions: { token_ttl: `${boundMs}ms` } },
    gateways: async (upstream) => [
      ...(await edgeEnvoys(["native"], both)(upstream)),
      ...(await edgeEnvoys(["asking"], { ...both, mode: "call_out" })(upstream)),
    ],
  });
  envoys.native = await startEdgeEnvoy(lab.world, "native");
  envoys.call_out = await startEdgeEnvoy(lab.world, "asking");
});

afterAll(async () => {
  await Promise.all([envoys.native?.stop(), envoys.call_out?.stop()]);
  await lab?.close();
  feeds?.forceShutdown();
  await chat?.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Chat {
  readonly port: number;
  /** Heads of everything that came. */
  readonly seen: IncomingMessage[];
  close(): Promise<void>;
}

/** A service that takes every upgrade and then talks for ever. */
async function startChat(): Promise<Chat> {
  const seen: IncomingMessage[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    seen.push(request);
    response.end("answered\n");
  });
  server.on("upgrade", (request, socket) => {
    seen.push(request);
    sockets.add(socket as Socket);
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${request.headers.upgrade}\r\n\r\n`,
    );
    const talk = setInterval(() => socket.write("word "), 50);
    socket.on("error", () => undefined).once("close", () => clearInterval(talk));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

const raw = { serialize: (bytes: Buffer) => bytes, deserialize: (bytes: Buffer) => bytes };
let calls = 0;

/** A gRPC service that never stops talking, and one that answers. */
function startFeeds(server: Server): Promise<number> {
  const method = (name: string, streams: boolean) => ({
    path: `/feeds.Feed/${name}`,
    requestStream: streams,
    responseStream: streams,
    requestSerialize: raw.serialize,
    requestDeserialize: raw.deserialize,
    responseSerialize: raw.serialize,
    responseDeserialize: raw.deserialize,
  });
  server.addService(
    { Watch: method("Watch", true), Ask: method("Ask", false) },
    {
      Watch(call: { write(bytes: Buffer): void; on(event: string, then: () => void): void }) {
        calls++;
        const talk = setInterval(() => call.write(Buffer.from("word")), 50);
        for (const event of ["cancelled", "close", "error"]) call.on(event, () => clearInterval(talk));
      },
      Ask(_call: unknown, answer: (error: null, bytes: Buffer) => void) {
        calls++;
        answer(null, Buffer.from("answered"));
      },
    },
  );
  return new Promise((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    ),
  );
}

interface Upgraded {
  readonly status: number;
  /** How long anything came through, ms, and how much. Envoy shuts the silent connection up to a second later. */
  readonly openMs: number;
  readonly heard: number;
}

/** Asks for an upgrade and stays until it is over. */
function upgrade(envoy: EdgeEnvoy | undefined, path: string, protocol = "websocket"): Promise<Upgraded> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({
      host: "127.0.0.1",
      port: envoy?.port,
      path,
      agent: false,
      headers: {
        host: "billing.localhost",
        authorization: `Bearer ${job.token}`,
        connection: "Upgrade",
        upgrade: protocol,
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
      },
    });
    sent.once("error", reject).end();
    sent.once("response", (response) => {
      response.resume().once("end", () => resolve({ status: response.statusCode ?? 0, openMs: 0, heard: 0 }));
    });
    sent.once("upgrade", (response, socket) => {
      const since = performance.now();
      let heard = 0;
      let openMs = 0;
      socket.on("data", (bytes: Buffer) => {
        heard += bytes.length;
        openMs = performance.now() - since;
      });
      const over = () => resolve({ status: response.statusCode ?? 0, openMs, heard });
      socket.on("error", () => undefined).once("close", over);
    });
  });
}

interface Called {
  readonly code: number;
  readonly openMs: number;
  readonly heard: number;
}

/** Opens a stream both ways and stays until it is over. */
async function watch(envoy: EdgeEnvoy | undefined, method = "Watch"): Promise<Called> {
  const client = new Client(`127.0.0.1:${envoy?.port}`, credentials.createInsecure(), {
    "grpc.default_authority": "feeds.localhost",
    "grpc.enable_retries": 0,
  });
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${job.token}`);
  const since = performance.now();
  const stream = client.makeBidiStreamRequest(`/feeds.Feed/${method}`, raw.serialize, raw.deserialize, metadata);
  stream.write(Buffer.from("word"));
  let heard = 0;
  stream.on("data", () => heard++);
  const code = await new Promise<number>((resolve) => {
    stream.once("error", (error: ServiceError) => resolve(error.code));
    stream.once("end", () => resolve(0));
  });
  stream.on("error", () => undefined);
  client.close();
  return { code, openMs: performance.now() - since, heard };
}

const print = (line: string) => process.stdout.write(`${line}\n`);

describe.each(["native", "call_out"] as const)("an Envoy that decides %s", (mode) => {
  beforeAll(async () => {
    job = await openJob(lab.world, lab.ci);
  });

  test("ends an open WebSocket and an open gRPC stream within the bound, although nobody asks it to", async () => {
    job = await openJob(lab.world, lab.ci);
    const [socket, stream] = await Promise.all([upgrade(envoys[mode], "/v1/watch"), watch(envoys[mode])]);
    print(
      `${mode}: WebSocket open for ${socket.openMs.toFixed(0)} ms, gRPC for ${stream.openMs.toFixed(0)} ms, of ${boundMs} ms`,
    );
    expect(socket.status).toBe(101);
    expect(stream.code).not.toBe(status.OK);
    expect([socket.heard, stream.heard].every((heard) => heard > 5)).toBe(true);
    for (const { openMs } of [socket, stream]) {
      expect(openMs).toBeGreaterThan(boundMs / 2);
      expect(openMs).toBeLessThan(boundMs + slackMs);
    }
  });

  test("lets neither stay for longer than that after its session's end, and opens no other", async () => {
    job = await openJob(lab.world, lab.ci);
    const streams = Promise.all([upgrade(envoys[mode], "/v1/watch"), watch(envoys[mode])]);
    await expect.poll(() => chat.seen.length + calls).toBeGreaterThan(1);
    lab.ci.gitlab.succeedJob(job.job);
    await lab.ci.gitlab.flush();
    const endedAt = performance.now();
    await expect.poll(async () => (await upgrade(envoys[mode], "/v1/plain")).status).toBeGreaterThan(400);
    expect((await upgrade(envoys[mode], "/v1/watch")).status).toBeGreaterThan(400);
    expect((await watch(envoys[mode])).code).toBeGreaterThan(0);
    await streams;
    const closingMs = 1_000;
    expect(performance.now() - endedAt).toBeLessThan(boundMs + closingMs + slackMs);
  });

  describe("without stream: true", () => {
    beforeAll(async () => {
      job = await openJob(lab.world, lab.ci);
    });

    test("an upgrade is refused, and the request alone is served", async () => {
      const before = chat.seen.length;
      expect(await upgrade(envoys[mode], "/v1/plain")).toMatchObject({ status: 403 });
      expect(chat.seen.length).toBe(before);
      job = await openJob(lab.world, lab.ci);
      expect(await plain(envoys[mode], "/v1/plain")).toBe(200);
    });

    test("a gRPC call is refused: nobody can tell it from a stream", async () => {
      const before = calls;
      job = await openJob(lab.world, lab.ci);
      expect((await watch(envoys[mode], "Ask")).code).toBe(status.PERMISSION_DENIED);
      expect(calls).toBe(before);
    });
  });

  test.each(["h2c", "TLS/1.0", "wayleave", "websocket, h2c"])("forwards no Upgrade: %s", async (protocol) => {
    job = await openJob(lab.world, lab.ci);
    const before = chat.seen.length;
    const answer = await upgrade(envoys[mode], "/v1/watch", protocol).catch(() => ({ status: 400 }));
    expect(answer.status).not.toBe(101);
    for (const { headers } of chat.seen.slice(before)) expect(headers.upgrade).toBeUndefined();
  });
});

test("NGINX, which cannot end a stream, forwards no upgrade", async () => {
  const own = await openJob(lab.world, lab.ci);
  const before = lab.world.upstream.served.length;
  const head = ["GET /v1/watch HTTP/1.1", "Host: billing.localhost", `Authorization: Bearer ${own.token}`];
  const answer = await sendTlsBytes(
    edgeOf(lab.world),
    `${[...head, "Connection: Upgrade", "Upgrade: websocket"].join("\r\n")}\r\n\r\n`,
  );
  expect(answer).not.toMatch(/^HTTP\/1.1 101/);
  for (const { headers } of lab.world.upstream.served.slice(before)) expect(headers.upgrade).toBeUndefined();
});

/** Status of a plain request. */
function plain(envoy: EdgeEnvoy | undefined, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { host: "billing.localhost", authorization: `Bearer ${job.token}` };
    const sent = httpRequest({ host: "127.0.0.1", port: envoy?.port, path, headers, agent: false }, (response) => {
      response.resume().once("end", () => resolve(response.statusCode ?? 0));
    });
    sent.once("error", reject).end();
  });
}
