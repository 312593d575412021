import { connect } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { type StringValue, StringValueSchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { type GrpcCall, type GrpcMethods, stream, unary } from "./method.ts";
import { type RawClient, rawClient } from "./raw-http2.fake.ts";
import { createGrpcServer } from "./server.ts";
import { GrpcError, grpcStatus } from "./status.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const text = (value: string) => create(StringValueSchema, { value });

interface Served {
  readonly port: number;
  readonly faults: unknown[];
  /** Values that reached a method. */
  readonly heard: string[];
}

async function serve(more: GrpcMethods = {}): Promise<Served> {
  const faults: unknown[] = [];
  const heard: string[] = [];
  const say = unary(StringValueSchema, StringValueSchema, ({ value }) => {
    heard.push(value);
    return text(value);
  });
  const server = createGrpcServer({ "/t.Echo/Say": say, ...more }, { onFault: (error) => faults.push(error) });
  cleanups.push(() => server.close(0));
  const at = await server.listen({ host: "127.0.0.1", port: 0 });
  return { port: typeof at === "string" ? 0 : at.port, faults, heard };
}

async function raw(port: number): Promise<RawClient> {
  const client = await rawClient(port);
  cleanups.push(() => client.end());
  return client;
}

function framed(value: string, { flag = 0, length = undefined as number | undefined } = {}): Buffer {
  const body = toBinary(StringValueSchema, text(value));
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(length ?? body.length, 1);
  return Buffer.concat([prefix, body]);
}

interface Said {
  readonly status: number | undefined;
  readonly grpc: string | undefined;
  readonly bytes: number;
}

/** One request body, in the given pieces, by Node's own HTTP/2 client. */
function post(
  port: number,
  pieces: readonly Uint8Array[],
  headers: Record<string, string> = {},
  unfinished = false,
): Promise<Said> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://127.0.0.1:${port}`);
    session.on("error", reject);
    const request = session.request({
      ":method": "POST",
      ":path": "/t.Echo/Say",
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    let status: number | undefined;
    let grpc: string | undefined;
    let bytes = 0;
    request.on("response", (found) => {
      status = found[":status"];
      grpc = found["grpc-status"]?.toString();
    });
    request.on("trailers", (found) => {
      grpc = found["grpc-status"]?.toString();
    });
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on("error", () => {}); // a refusal may cut the request short; what was said counts
    request.on("close", () => {
      session.close();
      resolve({ status, grpc, bytes });
    });
    for (const piece of pieces) request.write(piece);
    if (!unfinished) request.end();
  });
}

describe("a unary request", () => {
  const whole = framed("hello");

  test("may arrive in any pieces", async () => {
    const { port, heard } = await serve();
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.nat({ max: whole.length }), { maxLength: 6 }), async (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), whole.length];
        const pieces = at.slice(1).map((end, index) => whole.subarray(at[index], end));
        const said = await post(port, pieces);
        return said.grpc === "0" && said.bytes === whole.length && heard.at(-1) === "hello";
      }),
      { numRuns: 40 },
    );
  });

  test.each<{ what: string; pieces: readonly Uint8Array[]; grpc: number }>([
    { what: "nothing", pieces: [], grpc: grpcStatus.unimplemented },
    { what: "half a prefix", pieces: [whole.subarray(0, 3)], grpc: grpcStatus.internal },
    { what: "half a message", pieces: [whole.subarray(0, 8)], grpc: grpcStatus.internal },
    { what: "two messages", pieces: [whole, whole], grpc: grpcStatus.unimplemented },
    { what: "a message and a half", pieces: [whole, whole.subarray(0, 6)], grpc: grpcStatus.internal },
    {
      what: "a message and one more byte",
      pieces: [Buffer.concat([whole, Buffer.from([0])])],
      grpc: grpcStatus.internal,
    },
    { what: "a compressed message", pieces: [framed("hello", { flag: 1 })], grpc: grpcStatus.unimplemented },
    { what: "an unknown flag", pieces: [framed("hello", { flag: 2 })], grpc: grpcStatus.internal },
    {
      what: "a prefix that says 4 GiB",
      pieces: [framed("", { length: 0xffffffff })],
      grpc: grpcStatus.resourceExhausted,
    },
    { what: "a prefix over the cap", pieces: [framed("", { length: 65_537 })], grpc: grpcStatus.resourceExhausted },
    { what: "broken protobuf", pieces: [Buffer.from([0, 0, 0, 0, 2, 0x0a, 0xff])], grpc: grpcStatus.internal },
    { what: "text that is no UTF-8", pieces: [Buffer.from([0, 0, 0, 0, 3, 0x0a, 1, 0xff])], grpc: grpcStatus.internal },
    { what: "a wrong wire type", pieces: [Buffer.from([0, 0, 0, 0, 2, 0x08, 1])], grpc: grpcStatus.internal },
  ])("of $what is refused", async ({ pieces, grpc }) => {
    const { port, heard, faults } = await serve();
    expect(await post(port, pieces)).toEqual({ status: 200, grpc: String(grpc), bytes: 0 });
    expect(heard).toEqual([]);
    expect(faults).toEqual([]);
    expect((await post(port, [whole])).grpc).toBe("0");
  });

  test.each<{ what: string; headers: Record<string, string>; status: number; grpc?: number }>([
    { what: "a GET", headers: { ":method": "GET" }, status: 405 },
    { what: "JSON", headers: { "content-type": "application/json" }, status: 415 },
    { what: "gRPC-Web", headers: { "content-type": "application/grpc-web" }, status: 415 },
    { what: "gRPC with JSON", headers: { "content-type": "application/grpc+json" }, status: 415 },
    { what: "an unreadable timeout", headers: { "grpc-timeout": "200" }, status: 200, grpc: grpcStatus.internal },
    { what: "a timeout with too many digits", headers: { "grpc-timeout": "123456789m" }, status: 200, grpc: 13 },
    { what: "a negative timeout", headers: { "grpc-timeout": "-1m" }, status: 200, grpc: grpcStatus.internal },
    { what: "a path of another method", headers: { ":path": "/t.Echo/Say/" }, status: 200, grpc: 12 },
    { what: "a path with a query", headers: { ":path": "/t.Echo/Say?x" }, status: 200, grpc: 12 },
    { what: "a prototype's name", headers: { ":path": "/__proto__" }, status: 200, grpc: 12 },
  ])("with $what is refused", async ({ headers, status, grpc }) => {
    const { port, heard } = await serve();
    const bodiless = headers[":method"] === "GET";
    const said = await post(port, bodiless ? [] : [whole], headers);
    expect(said).toEqual({ status, grpc: grpc === undefined ? undefined : String(grpc), bytes: 0 });
    expect(heard).toEqual([]);
  });

  test.each([
    { type: "application/grpc+proto" },
    { type: "application/grpc; charset=utf-8" },
    { type: "Application/GRPC" },
  ])("of content type $type is taken", async ({ type }) => {
    const { port } = await serve();
    expect((await post(port, [whole], { "content-type": type })).grpc).toBe("0");
  });

  test("may say timeouts of every unit", async () => {
    const { port } = await serve();
    for (const unit of ["H", "M", "S"]) {
      expect((await post(port, [whole], { "grpc-timeout": `99999999${unit}` })).grpc).toBe("0");
    }
    for (const timeout of ["5000m", "5000000u", "99999999u"]) {
      expect((await post(port, [whole], { "grpc-timeout": timeout })).grpc).toBe("0");
    }
  });

  test("that stops in the middle ends with its deadline", async () => {
    const { port, heard } = await serve();
    const said = await post(port, [whole.subarray(0, 7)], { "grpc-timeout": "20m" }, true);
    expect(said).toEqual({ status: 200, grpc: String(grpcStatus.deadlineExceeded), bytes: 0 });
    expect(heard).toEqual([]);
  });

  test.each([0, 3, 5, 7])("reset after %i bytes reaches no method and harms nobody", async (bytes) => {
    const { port, heard, faults } = await serve();
    const client = await raw(port);
    client.open(1);
    client.data(1, whole.subarray(0, bytes));
    client.reset(1);
    client.open(3);
    client.data(3, whole, true);
    await expect.poll(() => heard).toEqual(["hello"]);
    await expect.poll(() => client.frames(3)).toContain(0x0);
    expect(faults).toEqual([]);
  });

  test("cut off with its connection reaches no method and harms nobody", async () => {
    const { port, heard, faults } = await serve();
    const client = await raw(port);
    client.open(1);
    client.data(1, whole.subarray(0, 7));
    client.end();
    await client.closed;
    expect((await post(port, [whole])).grpc).toBe("0");
    expect(heard).toEqual(["hello"]);
    expect(faults).toEqual([]);
  });

  test("whose deadline passes while the method works is answered, and the method is told", async () => {
    let told: unknown;
    const slow = unary(StringValueSchema, StringValueSchema, async (_, { signal }) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      told = signal.reason;
      throw new Error("what comes after is no fault of ours to answer");
    });
    const { port } = await serve({ "/t.Echo/Slow": slow });
    const said = await post(port, [whole], { ":path": "/t.Echo/Slow", "grpc-timeout": "20m" });
    expect(said).toEqual({ status: 200, grpc: String(grpcStatus.deadlineExceeded), bytes: 0 });
    expect(told).toMatchObject({ status: grpcStatus.deadlineExceeded });
  });

  test("whose client went away while the method worked is answered to nobody", async () => {
    let finish = () => {};
    let aborted = false;
    const slow = unary(StringValueSchema, StringValueSchema, async (_, { signal }) => {
      signal.addEventListener("abort", () => {
        aborted = true;
      });
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return text("late");
    });
    const { port, faults } = await serve({ "/t.Echo/Slow": slow });
    const client = await raw(port);
    client.open(1, { ":path": "/t.Echo/Slow" });
    client.data(1, whole, true);
    client.reset(1);
    await expect.poll(() => aborted).toBe(true);
    finish();
    expect((await post(port, [whole])).grpc).toBe("0");
    expect(faults).toEqual([]);
  });
});

describe("a connection", () => {
  test.each([
    { what: "that speaks HTTP/1.1", bytes: Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
    { what: "that speaks nothing", bytes: Buffer.alloc(64, 0xff) },
  ])("$what is closed, and the next one is served", async ({ bytes }) => {
    const { port, faults } = await serve();
    const client = await raw(port);
    client.send(bytes);
    await client.closed;
    expect((await post(port, [framed("x")])).grpc).toBe("0");
    expect(faults).toEqual([]);
  });

  test("with headers larger than 64 KiB is not served", async () => {
    const { port, heard } = await serve();
    const client = await raw(port);
    for (let part = 0; part < 5; part++) client.open(part * 2 + 1, { "x-long": "x".repeat(16_000) }, true);
    client.open(21, Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`x-${at}`, "y"])), true);
    await expect
      .poll(() => client.frames(21).length + client.frames(0).filter((type) => type === 0x7).length)
      .toBeGreaterThan(0);
    expect(heard).toEqual([]);
  });

  test("cannot hold more calls open than it may", async () => {
    let open = 0;
    const wait = unary(StringValueSchema, StringValueSchema, (_, { signal }) => {
      open += 1;
      return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    });
    const { port } = await serve({ "/t.Echo/Wait": wait });
    const client = await raw(port);
    for (let at = 0; at < 300; at++) {
      client.open(at * 2 + 1, { ":path": "/t.Echo/Wait" });
      client.data(at * 2 + 1, framed("x"), true);
    }
    await expect.poll(() => client.frames(599)).toContain(0x3);
    expect(open).toBe(256);
  });
});

describe("a stream", () => {
  async function listening() {
    const seen: string[] = [];
    const ends: { why?: unknown; aborted?: boolean }[] = [];
    const flow = stream(
      StringValueSchema,
      StringValueSchema,
      async function* (requests: AsyncIterable<StringValue>, { signal }: GrpcCall) {
        const end: { why?: unknown; aborted?: boolean } = {};
        try {
          for await (const { value } of requests) {
            seen.push(value);
            yield text(value);
          }
        } catch (error) {
          end.why = error;
          throw error;
        } finally {
          end.aborted = signal.aborted;
          ends.push(end);
        }
      },
    );
    const { port, faults } = await serve({ "/t.Echo/Flow": flow });
    const client = await raw(port);
    client.open(1, { ":path": "/t.Echo/Flow" });
    client.data(1, Buffer.concat([framed("a"), framed("b").subarray(0, 4)]));
    await expect.poll(() => seen).toEqual(["a"]);
    return { port, client, seen, ends, faults };
  }

  test("that is reset is told to the method, after everything that had come", async () => {
    const { client, seen, ends, faults } = await listening();
    client.data(1, framed("b").subarray(4));
    client.reset(1);
    await expect.poll(() => ends).toHaveLength(1);
    expect(ends[0]?.why).toBeInstanceOf(GrpcError);
    expect(ends[0]).toMatchObject({ aborted: true, why: { status: grpcStatus.cancelled } });
    expect(seen).toEqual(["a", "b"]);
    expect(faults).toEqual([]);
  });

  test.each([
    { what: "ends inside a message", more: framed("b").subarray(0, 4), grpc: 13 },
    { what: "says something unreadable", more: Buffer.from([0, 0, 0, 0, 2, 0x0a, 0xff]), grpc: 13 },
    { what: "says something compressed", more: framed("b", { flag: 1 }), grpc: 12 },
  ])("that $what ends with its status, and its method ends", async ({ more, grpc }) => {
    const { port, ends, faults } = await listening();
    const said = await post(port, [framed("a"), more], { ":path": "/t.Echo/Flow" });
    expect(said.grpc).toBe(String(grpc));
    await expect.poll(() => ends).toMatchObject([{ aborted: true }]);
    expect(faults).toEqual([]);
  });
});
