import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { exchangesOf, jobIo, within } from "../exec-harness.fake.ts";
import { fakeBroker } from "./broker.fake.ts";
import { type FakeIo, fakeIo } from "./command-io.fake.ts";
import { fakeSvidBroker } from "./svid-broker.fake.ts";
import { svidSource } from "./svid-source.ts";
import { workloadClient } from "./workload-client.fake.ts";
import { openWorkloadSocket, type WorkloadSocket } from "./workload-socket.ts";

let io: FakeIo;
let folder: string;
const open: (WorkloadSocket | undefined)[] = [];
const sockets: Socket[] = [];

beforeEach(() => {
  io = fakeIo();
  folder = io.env.XDG_RUNTIME_DIR ?? "";
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(open.splice(0).map((socket) => socket?.close()));
});

async function opened(lease = "one", where = folder): Promise<WorkloadSocket> {
  const source = svidSource(io, await fakeSvidBroker());
  const socket = await openWorkloadSocket(io, { folder: where, lease, source: async () => source });
  open.push(socket);
  if (socket === undefined) throw new Error(io.err());
  return socket;
}

const pathOf = ({ url }: WorkloadSocket) => url.slice("unix://".length);

async function works(socket: WorkloadSocket): Promise<number> {
  const client = workloadClient(socket.url);
  const { svids } = await client.x509Svids().next();
  client.close();
  return svids.length;
}

function dial(socket: WorkloadSocket): Socket {
  const connection = connect(pathOf(socket));
  connection.on("error", () => undefined);
  sockets.push(connection);
  return connection;
}

const gone = (connection: Socket) => new Promise<void>((resolve) => connection.once("close", () => resolve()));

describe("the socket", () => {
  test("is ours alone, and is gone afterwards with everything behind it", async () => {
    const socket = await opened();
    expect(statSync(pathOf(socket)).mode & 0o777).toBe(0o600);
    expect(await works(socket)).toBe(2);
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o077, name).toBe(0);
    await open.pop()?.close();
    expect(readdirSync(folder)).toEqual([]);
  });

  test("two commands of a job have one each", async () => {
    const [first, second] = [await opened("one"), await opened("two")];
    expect(first.url).not.toBe(second.url);
    expect(await Promise.all([works(first), works(second)])).toEqual([2, 2]);
    await open.pop()?.close();
    expect(await works(first)).toBe(2);
  });

  test("lies in a private folder under /tmp where the job's is too deep for a socket", async () => {
    const deep = join(folder, "d".repeat(60), "e".repeat(60));
    mkdirSync(deep, { recursive: true, mode: 0o700 });
    const socket = await opened("one", deep);
    expect(pathOf(socket).length).toBeLessThan(100);
    expect(statSync(dirname(pathOf(socket))).mode & 0o777).toBe(0o700);
    expect(await works(socket)).toBe(2);
    await open.pop()?.close();
    expect(existsSync(pathOf(socket))).toBe(false);
  });

  test("what killed commands left behind is swept; what lives or is no socket stays", async () => {
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(join(folder, "spiffe-dead"), resolve));
    // As SIGKILL leaves it: the name without its listener.
    const { linkSync } = await import("node:fs");
    linkSync(join(folder, "spiffe-dead"), join(folder, "spiffe-left"));
    await new Promise((resolve) => dead.close(resolve));
    writeFileSync(join(folder, "token-x"), "");
    const first = await opened("one");
    await opened("two");
    await expect.poll(() => readdirSync(folder).toSorted()).toEqual(["spiffe-one", "spiffe-two", "token-x"]);
    expect(await works(first)).toBe(2);
  });

  test("that cannot be opened is said, and is no reason for the command not to run", async () => {
    const source = svidSource(io, await fakeSvidBroker());
    const socket = await openWorkloadSocket(io, {
      folder: join(folder, "missing"),
      lease: "one",
      source: async () => source,
    });
    expect(socket).toBeUndefined();
    expect(io.err()).toContain("no SPIFFE Workload API");
  });
});

describe("hostile clients", () => {
  test.each([
    { what: "noise", bytes: Buffer.alloc(4096, 0x5a) },
    { what: "HTTP/1.1", bytes: Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
    { what: "a TLS hello", bytes: Buffer.from("16030100050100000100", "hex") },
    {
      what: "a preface and then noise",
      bytes: Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff", "latin1"),
    },
  ])("$what is hung up on", async ({ bytes }) => {
    const socket = await opened();
    const connection = dial(socket);
    connection.resume();
    connection.write(bytes);
    connection.end();
    await gone(connection);
    expect(await works(socket)).toBe(2);
  });

  test("a thousand connections are survived, and the next one is served", async () => {
    const socket = await opened();
    const crowd = Array.from({ length: 1000 }, () => dial(socket));
    await Promise.all(
      crowd.map(
        (one) => new Promise<void>((resolve) => one.once("connect", () => resolve()).once("close", () => resolve())),
      ),
    );
    for (const one of crowd) one.destroy();
    await expect.poll(() => works(socket).catch(() => 0), { timeout: 5000 }).toBe(2);
  });

  test("a message larger than any request is refused, and the connection lives", async () => {
    const socket = await opened();
    const session = connectHttp2("http://localhost", { createConnection: () => connect(pathOf(socket)) });
    const send = (body: Buffer) =>
      new Promise<unknown>((resolve, reject) => {
        const stream = session.request({
          ":method": "POST",
          ":path": "/SpiffeWorkloadAPI/FetchJWTSVID",
          "content-type": "application/grpc",
          te: "trailers",
          "workload.spiffe.io": "true",
        });
        let status: unknown;
        stream.on("response", (headers) => (status ??= headers["grpc-status"]));
        stream.on("trailers", (headers) => (status ??= headers["grpc-status"]));
        stream
          .on("error", reject)
          .on("close", () => resolve(status))
          .resume();
        stream.end(body);
      });
    const huge = Buffer.alloc(5);
    huge.writeUInt32BE(0xffffffff, 1);
    expect(await send(huge)).toBe("8");
    expect(await send(Buffer.from([0, 0, 0, 0, 2, 0x0a, 0x7f])), "a field longer than its message").toBe("13");
    expect(await send(Buffer.from([0, 0, 0, 0, 9, 1])), "half a message").toBe("13");
    expect(await send(Buffer.from([1, 0, 0, 0, 0])), "compressed").toBe("12");
    session.destroy();
    expect(await works(socket)).toBe(2);
  });

  test("streams that are left open end with the command", async () => {
    const socket = await opened();
    const client = workloadClient(socket.url);
    const streams = Array.from({ length: 50 }, () => client.x509Svids());
    await Promise.all(streams.map((stream) => stream.next()));
    await open.pop()?.close();
    for (const stream of streams) await expect(stream.next()).rejects.toMatchObject({ code: 14 });
    client.close();
  });
});

describe("wayleave exec", () => {
  test("gives the command the socket's address, and takes it away afterwards", async () => {
    const broker = await fakeBroker();
    let address = "";
    await within(jobIo(broker, { SPIFFE_ENDPOINT_SOCKET: "unix:///run/of/the/runner" }), {}, async (env) => {
      address = env.SPIFFE_ENDPOINT_SOCKET ?? "";
      expect(address).toMatch(/^unix:\/\/\//);
      expect(statSync(address.slice(7)).isSocket()).toBe(true);
      expect(
        broker.seen.some(({ path }) => path.startsWith("/v1/svid")),
        "nobody asked yet",
      ).toBe(false);
    });
    expect(existsSync(address.slice(7))).toBe(false);
    expect(exchangesOf(broker).length).toBe(1);
    await broker.close();
  });

  test("lets nobody have an identity once the session is over", async () => {
    const broker = await fakeBroker();
    await within(jobIo(broker), {}, async (env) => {
      const client = workloadClient(env.SPIFFE_ENDPOINT_SOCKET ?? "");
      broker.ended = true;
      await expect(client.x509Svids().next()).rejects.toMatchObject({
        code: 7,
        details: expect.stringContaining("session_ended"),
      });
      client.close();
    });
    await broker.close();
  });

  test("works from a job whose temporary folder is deep", async () => {
    const broker = await fakeBroker();
    const deep = join(mkdtempSync(join(tmpdir(), "wayleave-deep-")), "x".repeat(90));
    mkdirSync(deep, { recursive: true });
    await within(jobIo(broker, { TMPDIR: deep, XDG_RUNTIME_DIR: "" }), {}, async (env) => {
      expect(statSync((env.SPIFFE_ENDPOINT_SOCKET ?? "").slice(7)).isSocket()).toBe(true);
    });
    rmSync(dirname(deep), { recursive: true });
    await broker.close();
  });
});
