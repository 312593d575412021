import { readFile, writeFile } from "node:fs/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { parse, stringify } from "yaml";
import { freePort } from "../demo/free-port.ts";
import { createJobClient } from "../demo/job-client.ts";
import {
  CheckRequestSchema,
  type CheckResponse,
  CheckResponseSchema,
} from "../src/proto/envoy/service/auth/v3/external_auth_pb.ts";
import { startBareGrpc } from "./bare-grpc.ts";
import { grpcLoad } from "./grpc-load.ts";
import type { LoadResult } from "./http-load.ts";
import { type Installation, makeInstallation } from "./installation.ts";
import { machine, median, table, thousands } from "./machine.ts";
import { type ServerProcess, startProcess } from "./server-process.ts";

/** gRPC Check with a warm token next to the fastest bare gRPC server in Node, in turn in one run. */
const rounds = 5;
const durationMs = 3_000;
const connections = 2;
const streams = 32;
const path = "/envoy.service.auth.v3.Authorization/Check";

interface Question {
  readonly port: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly message: Uint8Array;
}

interface Variant {
  readonly name: string;
  readonly server: ServerProcess;
  readonly question: Question;
  readonly results: LoadResult[];
  /** Processor time of the server per request, µs, of each round. */
  readonly cpu: number[];
}

async function main(): Promise<void> {
  console.log(
    `gRPC Check, warm token, ${connections} connections × ${streams} streams, ${rounds} × ${durationMs / 1000} s each, in turn\n${machine()}\n`,
  );
  const asking = await broker("every decision durable within 50 ms", "within_50ms");
  const variants = [
    await bare(asking.question),
    asking,
    await broker("answer waits for the durable record", "before_answer"),
  ];
  for (let round = 0; round < rounds; round++) for (const variant of variants) await measure(variant);
  const rps = (variant: Variant | undefined) =>
    median(variant?.results.map((result) => result.requestsPerSecond) ?? []);
  console.log(
    table([
      ["server", "requests/s", "of bare", "CPU µs each", "p50 ms", "p99 ms", "failed"],
      ...variants.map((variant) => [
        variant.name,
        thousands(rps(variant)),
        `${((100 * rps(variant)) / rps(variants[0])).toFixed(0)} %`,
        median(variant.cpu).toFixed(1),
        median(variant.results.map((result) => result.p50Ms)).toFixed(2),
        median(variant.results.map((result) => result.p99Ms)).toFixed(2),
        String(variant.results.reduce((sum, result) => sum + result.failed, 0)),
      ]),
    ]),
  );
  for (const { server } of variants) await server.stop();
}

async function measure({ server, question, results, cpu }: Variant): Promise<void> {
  const before = await server.usage();
  const result = await grpcLoad({ ...question, path, connections, streams, durationMs });
  const after = await server.usage();
  results.push(result);
  cpu.push((after.cpu - before.cpu) / ((result.requestsPerSecond * durationMs) / 1000));
}

/** Answers as many bytes as the broker does to the same question. */
async function bare(question: Question): Promise<Variant> {
  const server = await startBareGrpc((await ask(question)).length);
  const { port } = server;
  return { name: "node:http2, a canned reply", server, question: { ...question, port }, results: [], cpu: [] };
}

async function broker(name: string, durable: "within_50ms" | "before_answer"): Promise<Variant> {
  const installation = await makeInstallation({ durable });
  const port = await addEnvoy(installation);
  const server = await startProcess(installation.configPath);
  const client = createJobClient(installation.url, "");
  const { body } = await client.exchange(await installation.subjectToken());
  await client.close();
  const metadata = { "x-wayleave-gateway": "sidecar", "x-wayleave-gateway-secret": installation.gatewaySecret };
  const question = { port, metadata, message: message(String(body.access_token)) };
  const { httpResponse }: CheckResponse = fromBinary(CheckResponseSchema, await ask(question));
  if (httpResponse.case !== "okResponse") throw new Error(`the broker answers ${JSON.stringify(httpResponse.value)}`);
  return { name, server, question, results: [], cpu: [] };
}

/** A gateway that asks over gRPC, with the secret of the one that is there; gives the port it asks at. */
async function addEnvoy({ configPath }: Installation): Promise<number> {
  const port = await freePort();
  const config = parse(await readFile(configPath, "utf8"));
  config.listen.grpc = `127.0.0.1:${port}`;
  const { targets, secret_file } = config.gateways[0];
  config.gateways.push({ name: "sidecar", kind: "envoy", mode: "call_out", targets: [...targets], secret_file });
  await writeFile(configPath, stringify(config), { mode: 0o600 });
  return port;
}

/** What an Envoy with `encode_raw_headers` sends for a request of curl's. */
function message(token: string): Uint8Array {
  const headers = {
    ":authority": "billing.internal",
    ":path": "/v1/invoices/42",
    ":method": "GET",
    ":scheme": "http",
    "user-agent": "curl/8.5.0",
    accept: "*/*",
    authorization: `Bearer ${token}`,
    "x-forwarded-proto": "http",
    "x-request-id": "b7f4dd8c-5b0a-4f0e-9a55-0f4f8a3b1d6e",
  };
  const raw = Object.entries(headers).map(([key, value]) => ({ key, rawValue: Buffer.from(value) }));
  const http = { method: "GET", path: "/v1/invoices/42", host: "billing.internal", headerMap: { headers: raw } };
  const attributes = { request: { http }, contextExtensions: { target: "billing" } };
  return toBinary(CheckRequestSchema, create(CheckRequestSchema, { attributes }));
}

/** One call by a client that is not ours: the answer's bytes. */
function ask({ port, metadata, message: bytes }: Question): Promise<Uint8Array> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const sent = new Metadata();
  for (const [name, value] of Object.entries(metadata)) sent.set(name, value);
  const asIs = (buffer: Buffer) => buffer;
  return new Promise<Uint8Array>((resolve, reject) => {
    client.makeUnaryRequest(path, asIs, asIs, Buffer.from(bytes), sent, (error, answer) => {
      client.close();
      if (error || answer === undefined) reject(error ?? new Error("no answer"));
      else resolve(answer);
    });
  });
}

await main();
