import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { createApp } from "../src/api/app.ts";
import { gatewayLogRoutes } from "../src/api/gateway-log.ts";
import { verifyRoutes } from "../src/api/verify.ts";
import { Input } from "../src/cli/command.ts";
import { gatewayAgent } from "../src/cli/gateway-agent.ts";
import { followLog } from "../src/cli/gateway-follow-loops.ts";
import { LogTail } from "../src/cli/gateway-log-tail.ts";
import { fakeIo } from "../src/cli/job/command-io.fake.ts";
import { verify } from "../src/cli/verify.ts";
import type { Config } from "../src/config/config.ts";
import type { AuditEvent } from "../src/core/record.ts";
import { job, nginxLine, session } from "../src/gateway/evidence.fake.ts";
import { fakeFacts } from "../src/gateway/story.fake.ts";
import type { StreamMethod } from "../src/grpc/method.ts";
import { StreamAccessLogsMessageSchema } from "../src/proto/envoy/service/accesslog/v3/als_pb.ts";
import { connectEvidence, type EvidenceServices } from "../src/server/evidence.ts";
import { listenOnSocket } from "../src/server/listen.ts";
import { type BrokerState, openState } from "../src/server/state.ts";

const secrets = { "edge-1": "secret-of-edge-1-for-tests", "billing-sidecar": "secret-of-sidecar-for-tests" };
const clock = { now: () => Date.now(), monotonic: () => performance.now() };
const log = pino({ level: "silent" });
const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
const subject = "spiffe://acme.example/ci/gitlab/1042";

/** As much of a configuration as this needs: the rest of the broker does not run. */
const gateways = [
  {
    name: "edge-1",
    kind: "nginx",
    targets: ["billing"],
    secret: secrets["edge-1"],
    brokerUrl: "",
    cacheMs: 0,
    njs: false,
  },
  {
    name: "billing-sidecar",
    kind: "envoy",
    mode: "native",
    protocol: "grpc",
    grpc: { host: "127.0.0.1", port: 1, tls: false },
    revocation: "grpc",
    revocationTtlMs: 15_000,
    keyCacheMs: 60_000,
    behind: ["edge-1"],
    targets: ["billing"],
    secret: secrets["billing-sidecar"],
    brokerUrl: "",
    listen: { host: "127.0.0.1", port: 1 },
    upstreams: {},
  },
] as const;
const config = {
  trustDomain: "acme.example",
  issuers: [],
  gateways,
  spiffe: { svidTtlMs: 3_600_000, prefixes: [], federatesWith: [] },
} as unknown as Config;

let directory = "";
let state: BrokerState;
let evidence: EvidenceServices;
let url = "";
let stop: () => Promise<void> = async () => undefined;

async function start(): Promise<void> {
  state = await openState(join(directory, "data"), clock);
  const { recorder, records, table } = state;
  evidence = connectEvidence({
    config,
    clock,
    recorder,
    records,
    table,
    aliveAt: () => undefined,
    onRefused: () => undefined,
  });
  const open = createApp({ log, behindProxy: false, routes: [gatewayLogRoutes(evidence.gatewayLog)] });
  const operator = createApp({ log, behindProxy: false, routes: [verifyRoutes(evidence.verify)] });
  await open.listen({ host: "127.0.0.1", port: 0 });
  await listenOnSocket(operator, join(directory, "data", "admin.sock"));
  url = `http://127.0.0.1:${(open.server.address() as AddressInfo).port}`;
  stop = async () => {
    await Promise.all([open.close(), operator.close()]);
    await state.close();
  };
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-verify-"));
  writeFileSync(join(directory, "wayleave.yaml"), stringify({ data: "./data" }));
  await start();
});

afterEach(async () => {
  await stop();
  rmSync(directory, { recursive: true, force: true });
});

/** The session and one decision of edge-1 for it; gives the decision's record. */
async function openSession(): Promise<string> {
  const opening = fakeFacts([]).records.filter(({ kind }) => kind === "session.opened" || kind === "credential.minted");
  const events = opening.map(({ kind, data }) => ({ kind, data, session, job }) as AuditEvent);
  const [first] = opening;
  if (first?.kind === "session.opened") state.table.apply({ ...first, time: new Date().toISOString() });
  await state.recorder.append(events);
  const [decided] = await state.recorder.append([
    {
      kind: "decision",
      session,
      job,
      trace,
      data: {
        gateway: "edge-1",
        target: "billing",
        operation: "POST /v1/releases",
        host: "billing.internal",
        effect: "allow",
        outcome: "allow",
        reason: "allowed",
        rule: "release",
        policy: "41c0aa",
      },
    },
  ]);
  return decided?.id ?? "";
}

const edgeLine = (record: string, more = {}) =>
  `${nginxLine({ record, trace, time: new Date().toISOString(), subject, ...more })}\n`;

/** Follows a log until everything in it has arrived. */
async function ship(path: string, tail = new LogTail(path, undefined, 4096)): Promise<LogTail> {
  const agent = gatewayAgent({ name: "edge-1", secret: secrets["edge-1"], brokerUrl: url, ca: undefined });
  const done = new AbortController();
  const io = { ...fakeIo(), pause: async () => done.abort() };
  await followLog({ io, agent, signal: done.signal }, tail, () => undefined);
  await agent.close();
  return tail;
}

/** What the sidecar streams of the same request. */
async function stream(record: string, role = "release"): Promise<void> {
  const [method] = Object.values(evidence.accessLog) as [StreamMethod];
  const payload = { sub: subject, sid: session, roles: [role], pol: "41c0aa", txn: record };
  async function* messages() {
    yield create(StreamAccessLogsMessageSchema, {
      logEntries: {
        case: "httpLogs",
        value: {
          logEntry: [
            {
              commonProperties: {
                startTime: { seconds: BigInt(Math.floor(Date.now() / 1000)), nanos: 0 },
                routeName: "billing/0",
                metadata: { filterMetadata: { "envoy.filters.http.jwt_authn": { wayleave: payload } } },
                tlsProperties: {
                  peerCertificateProperties: {
                    subjectAltName: [{ san: { case: "uri", value: "spiffe://acme.example/gateway/edge-1" } }],
                  },
                },
              },
              request: {
                requestMethod: 3,
                authority: "billing.internal",
                path: "/v1/releases",
                requestHeaders: { traceparent: `00-${trace}-00f067aa0ba902b7-01` },
              },
              response: { responseCode: 201, responseCodeDetails: "via_upstream" },
            },
          ],
        },
      },
    });
  }
  const metadata = new Map([
    ["x-wayleave-gateway", "billing-sidecar"],
    ["x-wayleave-gateway-secret", secrets["billing-sidecar"]],
  ]);
  const answers = method.handle(messages(), { metadata, peer: "", signal: new AbortController().signal });
  for await (const _answer of answers);
}

async function run(name: string, options: Readonly<Record<string, unknown>> = {}) {
  const io = fakeIo({}, directory);
  const config = join(directory, "wayleave.yaml");
  const status = await verify.run(io, new Input([name], { config, wait: "0", ...options })).catch((error) => error);
  return { status, out: io.out() };
}

describe("wayleave verify", () => {
  test("confirms a request through NGINX and Envoy, by job, session and trace", async () => {
    const record = await openSession();
    const path = join(directory, "edge.log");
    writeFileSync(path, edgeLine(record));
    (await ship(path)).close();
    await stream(record);
    for (const name of ["7712", session, trace]) {
      const { status, out } = await run(name);
      expect(out).toContain("Every hop confirms the same identity.");
      expect(status).toBe(0);
      expect(out).toMatch(/nginx +edge-1 +POST \/v1\/releases +allow +201/);
      expect(out).toMatch(/envoy +billing-sidecar +POST \/v1\/releases +allow +201/);
      expect(out).toContain("peer spiffe://acme.example/gateway/edge-1");
    }
    expect(JSON.parse((await run("7712", { json: true })).out)).toMatchObject({ verdict: "confirmed", problems: [] });
  });

  test.each([
    { hop: "edge-1", code: "entry_missing", edge: false, sidecar: true },
    { hop: "billing-sidecar", code: "inner_hop_missing", edge: true, sidecar: false },
  ])("names $hop when its log stops", async ({ hop, code, edge, sidecar }) => {
    const record = await openSession();
    const path = join(directory, "edge.log");
    writeFileSync(path, edge ? edgeLine(record) : "");
    (await ship(path)).close();
    if (sidecar) await stream(record);
    const { status, out } = await run("7712");
    expect(status).toBe(3);
    expect(out).toMatch(new RegExp(`MISSING +${hop}: `));
    expect(out).toContain("likely: ");
    const { problems } = JSON.parse((await run("7712", { json: true })).out);
    expect(problems).toMatchObject([{ code, hop }]);
  });

  test("names the hop that contradicts another", async () => {
    const record = await openSession();
    const path = join(directory, "edge.log");
    writeFileSync(path, edgeLine(record));
    (await ship(path)).close();
    await stream(record, "admin");
    const { status, out } = await run("7712");
    expect(status).toBe(3);
    expect(out).toMatch(/DIFFERS +billing-sidecar: a hop saw another role/);
  });

  test("finds a line that names another session by the decision it names", async () => {
    const record = await openSession();
    const path = join(directory, "edge.log");
    writeFileSync(path, edgeLine(record, { session: "ses_zzzzzzzzzzzzzzzz" }));
    (await ship(path)).close();
    await stream(record);
    const { out } = await run("7712");
    expect(out).toContain("names ses_zzzzzzzzzzzzzzzz, which is no session here");
  });

  test("reads the job's own log where it is given", async () => {
    await openSession();
    const traceLog = join(directory, "trace.txt");
    writeFileSync(traceLog, `\u001b[0Ksection\nwayleave: session ${session} opened  acme/shop release #7712\n`);
    expect((await run("7712", { traceLog })).out).toContain(`job log    "session ${session} opened"`);
    expect((await run("7712", { traceLog: join(directory, "none") })).status).toMatchObject({
      code: "invalid_request",
    });
  });

  test.each(["7713", "ses_zzzzzzzzzzzzzzzz", "f".repeat(32), "../status", ""])("knows nothing of %j", async (name) => {
    await openSession();
    expect((await run(name)).status).toMatchObject({ wire: { exit: 4 } });
  });
});

describe("a log that is sent twice", () => {
  const requests = async () => (await state.records.query({ kind: "gateway.request", limit: 100 })).length;

  test("is recorded once, through rotation, a lost place and a restart of the broker", async () => {
    const record = await openSession();
    const path = join(directory, "edge.log");
    writeFileSync(path, edgeLine(record, { path: "/v1/1" }) + edgeLine(record, { path: "/v1/2" }));
    const tail = await ship(path);
    expect(await requests()).toBe(2);
    renameSync(path, `${path}.1`);
    appendFileSync(path, edgeLine(record, { path: "/v1/3" }));
    // It looks a few times whether the old file still grows.
    for (let looks = 0; looks < 8; looks++) await ship(path, tail);
    expect(await requests()).toBe(3);
    tail.close();
    (await ship(path)).close();
    (await ship(`${path}.1`)).close();
    expect(await requests()).toBe(3);
    await stop();
    await start();
    (await ship(path)).close();
    (await ship(`${path}.1`)).close();
    expect(await requests()).toBe(3);
  });
});
