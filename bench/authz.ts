import { createJobClient } from "../demo/job-client.ts";
import { type LoadResult, load } from "./http-load.ts";
import { type Installation, makeInstallation } from "./installation.ts";
import { machine, median, table, thousands } from "./machine.ts";
import { type ServerProcess, startProcess } from "./server-process.ts";

/** `/authz/nginx` with a warm token next to a bare node:http server that answers 200, in turn in one run. */
const rounds = 5;
const durationMs = 3_000;
const connections = 64;

interface Variant {
  readonly name: string;
  readonly server: ServerProcess;
  readonly request: string;
  readonly results: LoadResult[];
  /** Processor time of the server per request, µs, of each round. */
  readonly cpu: number[];
}

async function main(): Promise<void> {
  console.log(
    `/authz/nginx, warm token, ${connections} connections, ${rounds} × ${durationMs / 1000} s each, in turn\n${machine()}\n`,
  );
  const variants = [
    await bare(),
    await broker("every decision durable within 50 ms", "within_50ms"),
    await broker("answer waits for the durable record", "before_answer"),
  ];
  for (let round = 0; round < rounds; round++) for (const variant of variants) await measure(variant);
  const [base] = variants;
  const rps = (variant: Variant | undefined) =>
    median(variant?.results.map((result) => result.requestsPerSecond) ?? []);
  console.log(
    table([
      ["server", "requests/s", "of bare", "CPU µs each", "p50 ms", "p99 ms", "failed"],
      ...variants.map((variant) => [
        variant.name,
        thousands(rps(variant)),
        `${((100 * rps(variant)) / rps(base)).toFixed(0)} %`,
        median(variant.cpu).toFixed(1),
        median(variant.results.map((result) => result.p50Ms)).toFixed(2),
        median(variant.results.map((result) => result.p99Ms)).toFixed(2),
        String(variant.results.reduce((sum, result) => sum + result.failed, 0)),
      ]),
    ]),
  );
  for (const { server } of variants) await server.stop();
}

async function measure({ server, request, results, cpu }: Variant): Promise<void> {
  const before = await server.usage();
  const result = await load({ port: server.port, request, connections, durationMs, expect: "HTTP/1.1 200" });
  const after = await server.usage();
  results.push(result);
  cpu.push((after.cpu - before.cpu) / ((result.requestsPerSecond * durationMs) / 1000));
}

async function bare(): Promise<Variant> {
  const server = await startProcess("bare");
  return {
    name: "node:http, 200 to everything",
    server,
    request: await question(await makeInstallation(), "x".repeat(900)),
    results: [],
    cpu: [],
  };
}

async function broker(name: string, durable: "within_50ms" | "before_answer"): Promise<Variant> {
  const installation = await makeInstallation({ durable });
  const server = await startProcess(installation.configPath);
  const client = createJobClient(installation.url, "");
  const { body } = await client.exchange(await installation.subjectToken());
  await client.close();
  return { name, server, request: await question(installation, String(body.access_token)), results: [], cpu: [] };
}

/** What the rendered NGINX configuration sends, byte for byte the same for every server. */
async function question(installation: Installation, token: string): Promise<string> {
  return [
    "GET /authz/nginx HTTP/1.1",
    "Host: 127.0.0.1",
    "X-Wayleave-Gateway: edge",
    "X-Wayleave-Target: billing",
    "X-Original-Method: GET",
    "X-Original-Host: billing.internal",
    "X-Original-URI: /v1/invoices/42",
    `X-Wayleave-Gateway-Secret: ${installation.gatewaySecret}`,
    `Authorization: Bearer ${token}`,
    "User-Agent: curl/8.5.0",
    "Accept: */*",
    "\r\n",
  ].join("\r\n");
}

await main();
