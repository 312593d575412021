import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyUnpack, type StringValue, StringValueSchema } from "@bufbuild/protobuf/wkt";
import {
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
} from "@grpc/grpc-js";
import { afterEach, describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { ErrorInfoSchema } from "../proto/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../proto/google/rpc/status_pb.ts";
import { HealthCheckRequestSchema, HealthCheckResponseSchema } from "../proto/grpc/health/v1/health_pb.ts";
import { type GrpcCall, type GrpcMethods, stream, unary } from "./method.ts";
import { createGrpcServer, type GrpcServer, type GrpcServerOptions } from "./server.ts";
import { GrpcError, grpcStatus } from "./status.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const text = (value: string) => create(StringValueSchema, { value });
const read = (bytes: Buffer) => fromBinary(StringValueSchema, bytes);
const written = (message: StringValue) => Buffer.from(toBinary(StringValueSchema, message));

interface Served {
  readonly server: GrpcServer;
  readonly client: Client;
  readonly faults: unknown[];
}

async function serve(methods: GrpcMethods, options: Partial<GrpcServerOptions> = {}, path?: string): Promise<Served> {
  const faults: unknown[] = [];
  const server = createGrpcServer(methods, { onFault: (error) => faults.push(error), ...options });
  const at = await server.listen(path === undefined ? { host: "127.0.0.1", port: 0 } : { path });
  const client = new Client(
    typeof at === "string" ? `unix://${at}` : `127.0.0.1:${at.port}`,
    credentials.createInsecure(),
  );
  cleanups.push(
    () => server.close(0),
    () => client.close(),
  );
  return { server, client, faults };
}

/** The answer, or the error, with its trailers. */
function ask(
  client: Client,
  value: string,
  { path = "/t.Echo/Say", metadata = new Metadata(), deadlineMs = 5_000 } = {},
): Promise<{ readonly value?: string; readonly error?: ServiceError }> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      path,
      written,
      read,
      text(value),
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error, answer) => resolve(error ? { error } : { value: answer?.value ?? "" }),
    );
  });
}

function echo(handle: (value: string, call: GrpcCall) => string | Promise<string>, maxBytes?: number): GrpcMethods {
  return {
    "/t.Echo/Say": unary(
      StringValueSchema,
      StringValueSchema,
      ({ value }, call) => {
        const answer = handle(value, call);
        return answer instanceof Promise ? answer.then(text) : text(answer);
      },
      maxBytes === undefined ? {} : { maxBytes },
    ),
  };
}

describe("unary calls of a client that we did not write", () => {
  test("are answered, at once or later, over TCP and a Unix socket", async () => {
    const folder = mkdtempSync(join(tmpdir(), "wayleave-grpc-"));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const methods = echo((value) => (value === "later" ? delay(1, "was later") : `${value}!`));
    const tcp = await serve(methods);
    const unix = await serve(methods, {}, join(folder, "s"));
    for (const { client } of [tcp, unix]) {
      expect(await ask(client, "hello")).toEqual({ value: "hello!" });
      expect(await ask(client, "")).toEqual({ value: "!" });
      expect(await ask(client, "later")).toEqual({ value: "was later" });
      const long = "ü".repeat(30_000);
      expect(await ask(client, long)).toEqual({ value: `${long}!` });
    }
  });

  test("bring metadata and the peer's address", async () => {
    const { client } = await serve(echo((_, { metadata, peer }) => `${metadata.get("x-name")} ${peer}`));
    const metadata = new Metadata();
    metadata.add("X-Name", "edge-1");
    expect(await ask(client, "", { metadata })).toEqual({ value: "edge-1 127.0.0.1" });
    metadata.add("x-name", "edge-2");
    expect((await ask(client, "", { metadata })).value).toBe("edge-1, edge-2 127.0.0.1");
  });

  test("a name that every object has is no metadata", async () => {
    const { client } = await serve(echo((_, { metadata }) => String(metadata.get("constructor"))));
    expect((await ask(client, "")).value).toBe("undefined");
  });

  test.each([
    { what: "a method nobody serves", path: "/t.Echo/Shout", status: grpcStatus.unimplemented },
    { what: "a method of another service", path: "/t.Echo2/Say", status: grpcStatus.unimplemented },
  ])("$what is refused", async ({ path, status }) => {
    const { client } = await serve(echo((value) => value));
    expect((await ask(client, "", { path })).error?.code).toBe(status);
  });

  test("a message over the cap is refused, one that fits exactly is not", async () => {
    const { client } = await serve(echo((value) => String(value.length), 64));
    expect(await ask(client, "x".repeat(62))).toEqual({ value: "62" });
    const { error } = await ask(client, "x".repeat(63));
    expect(error?.code).toBe(grpcStatus.resourceExhausted);
    expect(error?.details).toBe("a message has 65 bytes; 64 is the most");
  });

  test("the default cap is 64 KiB", async () => {
    const { client } = await serve(echo((value) => String(value.length)));
    expect((await ask(client, "x".repeat(65_000))).value).toBe("65000");
    expect((await ask(client, "x".repeat(65_536))).error?.code).toBe(grpcStatus.resourceExhausted);
  });
});

describe("errors", () => {
  const failing = (error: unknown) =>
    echo((value) => {
      if (value === "later") return delay(1).then(() => Promise.reject(error));
      throw error;
    });

  test.each(["now", "later"])("a WayleaveError thrown %s says its code in ErrorInfo, and is no fault", async (when) => {
    const { client, faults } = await serve(failing(new WayleaveError("spiffe_id_refused", "100% no: ü.")));
    const { error } = await ask(client, when);
    expect(error?.code).toBe(grpcStatus.permissionDenied);
    expect(error?.details).toBe("100% no: ü.");
    const [bytes] = error?.metadata.get("grpc-status-details-bin") ?? [];
    const status = fromBinary(StatusSchema, bytes as Buffer);
    expect(status.code).toBe(grpcStatus.permissionDenied);
    expect(anyUnpack(status.details[0]!, ErrorInfoSchema)).toMatchObject({
      reason: "spiffe_id_refused",
      domain: "wayleave",
    });
    expect(faults).toEqual([]);
  });

  test.each(["now", "later"])("a GrpcError thrown %s keeps its status", async (when) => {
    const { client, faults } = await serve(failing(new GrpcError(grpcStatus.failedPrecondition, "not yet")));
    expect((await ask(client, when)).error).toMatchObject({ code: grpcStatus.failedPrecondition, details: "not yet" });
    expect(faults).toEqual([]);
  });

  test.each(["now", "later"])(
    "anything else thrown %s is internal, said to the log and not to the caller",
    async (when) => {
      const broken = new Error("password=hunter2");
      const { client, faults } = await serve(failing(broken));
      const { error } = await ask(client, when);
      expect(error?.code).toBe(grpcStatus.internal);
      expect(JSON.stringify(error)).not.toContain("hunter2");
      expect(error?.message).not.toContain("hunter2");
      expect(faults).toEqual([broken]);
    },
  );
});

describe("health", () => {
  const check = (client: Client, service: string) =>
    new Promise<number>((resolve, reject) => {
      client.makeUnaryRequest(
        "/grpc.health.v1.Health/Check",
        (name: string) =>
          Buffer.from(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema, { service: name }))),
        (bytes: Buffer) => fromBinary(HealthCheckResponseSchema, bytes).status,
        service,
        (error, status) => (error ? reject(error) : resolve(status ?? -1)),
      );
    });

  test("is serving or not, for the server and each of its services, and unknown for others", async () => {
    let isServing = true;
    const { client } = await serve(
      echo((value) => value),
      { isServing: () => isServing },
    );
    expect(await check(client, "")).toBe(1);
    expect(await check(client, "t.Echo")).toBe(1);
    await expect(check(client, "t.Other")).rejects.toMatchObject({ code: grpcStatus.notFound });
    isServing = false;
    expect(await check(client, "")).toBe(2);
    expect(await check(client, "t.Echo")).toBe(2);
  });
});

describe("streams of a client that we did not write", () => {
  type Handler = (requests: AsyncIterable<StringValue>, call: GrpcCall) => AsyncIterable<StringValue>;
  const open = async (handle: Handler) => {
    const served = await serve({ "/t.Echo/Flow": stream(StringValueSchema, StringValueSchema, handle) });
    const flow = served.client.makeBidiStreamRequest("/t.Echo/Flow", written, read, new Metadata());
    return { ...served, flow, said: collect(flow) };
  };
  const collect = (flow: ClientDuplexStream<StringValue, StringValue>) =>
    new Promise<{ readonly values: string[]; readonly status: StatusObject }>((resolve) => {
      const values: string[] = [];
      flow.on("data", ({ value }: StringValue) => values.push(value));
      flow.on("error", () => {});
      flow.on("status", (status) => resolve({ values, status }));
    });

  test("are answered message by message, in order", async () => {
    const { flow, said } = await open(async function* (requests) {
      for await (const { value } of requests) yield text(`${value}!`);
    });
    for (let at = 0; at < 200; at++) flow.write(text(String(at)));
    flow.end();
    const { values, status } = await said;
    expect(status.code).toBe(grpcStatus.ok);
    expect(values).toEqual(Array.from({ length: 200 }, (_, at) => `${at}!`));
  });

  test("may answer before, without and after requests", async () => {
    const { flow, said } = await open(async function* (requests) {
      yield text("first");
      for await (const _ of requests);
      yield text("last");
    });
    flow.end();
    expect((await said).values).toEqual(["first", "last"]);
  });

  test("do not run ahead of a slow reader, on either side", async () => {
    let sent = 0;
    const { flow, said } = await open(async function* () {
      for (; sent < 400; sent++) yield text("x".repeat(60_000));
    });
    flow.pause();
    await expect.poll(() => sent).toBeGreaterThan(0);
    await delay(50);
    expect(sent).toBeLessThan(100);
    flow.resume();
    flow.end();
    expect((await said).values).toHaveLength(400);
  });

  test("a method that fails before it said anything answers with trailers only", async () => {
    // biome-ignore lint/correctness/useYield: it fails before
    const { said } = await open(async function* () {
      throw new WayleaveError("gateway_unauthenticated", "unknown gateway");
    });
    const { values, status } = await said;
    expect(values).toEqual([]);
    expect(status).toMatchObject({ code: grpcStatus.unauthenticated, details: "unknown gateway" });
  });

  test("a method that fails later ends the stream with its status after what was said", async () => {
    const { said } = await open(async function* () {
      yield text("so far");
      throw new GrpcError(grpcStatus.unavailable, "gone");
    });
    const { values, status } = await said;
    expect(values).toEqual(["so far"]);
    expect(status).toMatchObject({ code: grpcStatus.unavailable, details: "gone" });
  });

  test("a closing server ends them with UNAVAILABLE, and takes no more", async () => {
    const { server, said, flow, client } = await open(async function* (requests) {
      yield text("hello");
      for await (const _ of requests);
    });
    await new Promise((resolve) => flow.once("data", resolve));
    await server.close(1_000);
    expect((await said).status.code).toBe(grpcStatus.unavailable);
    expect((await ask(client, "", { deadlineMs: 500 })).error).toBeDefined();
  });

  test("a closing server lets a unary call finish within its grace, and cuts one that takes longer", async () => {
    const waiting: ((answer: string) => void)[] = [];
    const methods = echo(() => new Promise((resolve) => waiting.push(resolve)));
    const patient = await serve(methods);
    const asked = ask(patient.client, "");
    await expect.poll(() => waiting.length).toBe(1);
    const closing = patient.server.close(5_000);
    waiting[0]?.("done");
    expect(await asked).toEqual({ value: "done" });
    await closing;
    const hasty = await serve(methods);
    const cut = ask(hasty.client, "");
    await expect.poll(() => waiting.length).toBe(2);
    await hasty.server.close(10);
    expect((await cut).error?.code).toBe(grpcStatus.unavailable);
  });
});
