import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createJobClient } from "../demo/job-client.ts";
import { vocabulary } from "../src/ci/providers.ts";
import { loadConfig } from "../src/config/load.ts";
import { compile } from "../src/policy/compile.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { type CrashCi, startCrashCi, startJob } from "./broker-crash-load.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { type Lab, request, startLab } from "./nginx-lab.ts";
import { askOperator, operatorRecords } from "./operator.ts";

/** The broker goes away in mid-deploy, behind a real NGINX: what `keep` lets go on, and what nothing does. */
const keepSeconds = 4;
const policyText = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] }, on_outage: { keep: ${keepSeconds}s } }
  ledger:  { http: { hosts: [ledger.internal] } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  deploy: { for: [shop], allow: { billing: [GET /v1/**, POST /v1/releases], ledger: [GET /ledger/**] } }
  counted: { for: [shop], limit: { rate: 100/min, per: session }, allow: { billing: [POST /v1/counted] } }
`;

let installation: BrokerInstallation;
let ci: CrashCi;
let broker: RunningServer;
let client: ReturnType<typeof createJobClient>;
let lab: Lab;

beforeAll(async () => {
  installation = await installBroker({
    policy: policyText,
    targets: ["billing", "ledger"],
    gateway: { njs: true },
    ci: async (url) => {
      ci = await startCrashCi(url);
      return ci.part;
    },
  });
  broker = await startBroker();
  client = createJobClient(installation.url, "");
  lab = await startLab({
    policy: compiled(),
    decisionPoint: { url: installation.url, gatewaySecret: installation.gatewaySecret },
    gateway: { njs: true },
    server: (upstream) => `
      location / { include @lab/wayleave/wayleave-location-billing.conf; proxy_pass ${upstream}; }
      location /ledger/ { include @lab/wayleave/wayleave-location-ledger.conf; proxy_pass ${upstream}; }`,
  });
});

afterAll(async () => {
  await lab?.stop();
  lab?.nginx.remove();
  await client?.close();
  await broker?.close();
  await ci?.gitlab.close();
  installation?.remove();
});

function startBroker(): Promise<RunningServer> {
  const loaded = loadConfig({ path: installation.configPath, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  return startServer(loaded.config, { log: pino({ level: "silent" }) });
}

function compiled() {
  const { model } = parsePolicy({
    files: [{ name: "policy.yaml", text: policyText }],
    vocabulary,
    issuers: [{ name: "gitlab", type: "gitlab" }],
  });
  if (model === undefined) throw new TypeError("the broker has loaded this policy already");
  return compile(model, vocabulary);
}

interface Session {
  readonly id: string;
  readonly token: string;
}

async function openSession(): Promise<Session> {
  const { body } = await client.exchange(await ci.gitlab.idToken(startJob(ci), { aud: installation.url }));
  return { id: String(body.session_id), token: String(body.access_token) };
}

const call = (line: string, token?: string, host = "billing.internal") =>
  request(lab.nginx.port, line, {
    Host: host,
    ...(line.startsWith("POST") ? { "Content-Length": "0" } : {}),
    ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
  });

const isOutage = {
  status: 503,
  headers: expect.objectContaining({
    "x-wayleave-decision": "outage",
    "x-wayleave-reason": "outage",
    "retry-after": "5",
  }),
};

describe("in mid-deploy", () => {
  let deploying: Session;
  let ended: Session;
  let late: string;
  let heardAt = 0;

  beforeAll(async () => {
    [deploying, ended] = [await openSession(), await openSession()];
    for (const { token } of [deploying, ended]) {
      expect(await call("GET /v1/status", token)).toMatchObject({ status: 200 });
      expect(await call("GET /v1/other", token)).toMatchObject({ status: 200 });
    }
    expect(await call("POST /v1/counted", deploying.token)).toMatchObject({ status: 200 });
    expect(await call("GET /ledger/v1/x", deploying.token, "ledger.internal")).toMatchObject({ status: 200 });
    expect(await call("POST /v1/admin", deploying.token)).toMatchObject({ status: 403 });
    await askOperator({ broker }, "POST", `/v1/sessions/${ended.id}/end`, { because: "a test" });
    expect(await call("GET /v1/status", ended.token)).toMatchObject({ status: 401 });
    late = await ci.gitlab.idToken(startJob(ci), { aud: installation.url });
    expect(await call("POST /v1/releases", deploying.token)).toMatchObject({ status: 200 });
    heardAt = Date.now();
    await broker.close();
  });

  test("what Wayleave allowed goes on, whatever the query", async () => {
    const before = lab.served.length;
    expect(await call("POST /v1/releases", deploying.token)).toMatchObject({ status: 200 });
    expect(await call("GET /v1/status?page=2", deploying.token)).toMatchObject({ status: 200 });
    expect(lab.served.length - before).toBe(2);
    expect(JSON.stringify(lab.served.at(-1))).not.toContain(deploying.token);
  });

  test.each<{ what: string; line: string; token: () => string | undefined; host?: string }>([
    {
      what: "an operation that policy allows, but was not asked for",
      line: "GET /v1/new",
      token: () => deploying.token,
    },
    { what: "another method", line: "GET /v1/releases", token: () => deploying.token },
    { what: "an operation that policy refused", line: "POST /v1/admin", token: () => deploying.token },
    { what: "an operation that a limit counts", line: "POST /v1/counted", token: () => deploying.token },
    { what: "another host", line: "GET /v1/status", token: () => deploying.token, host: "ledger.internal" },
    {
      what: "a target that says nothing of outages",
      line: "GET /ledger/v1/x",
      token: () => deploying.token,
      host: "ledger.internal",
    },
    { what: "the session that ended, where it was refused", line: "GET /v1/status", token: () => ended.token },
    { what: "the session that ended, where it was not yet", line: "GET /v1/other", token: () => ended.token },
    { what: "a changed token", line: "GET /v1/status", token: () => `${deploying.token}x` },
    { what: "no token", line: "GET /v1/status", token: () => undefined },
  ])("$what is an outage, and no refusal", async ({ line, token, host }) => {
    const before = lab.served.length;
    expect(await call(line, token(), host)).toMatchObject(isOutage);
    expect(lab.served).toHaveLength(before);
  });

  test("no session is opened", async () => {
    await expect(client.exchange(late)).rejects.toThrow(/ECONNREFUSED/);
  });

  test("no token is in what NGINX keeps", () => {
    const folder = join(lab.nginx.directory, "cache-kept");
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
    expect(files.length).toBeGreaterThan(3);
    for (const { name, parentPath } of files) {
      expect(readFileSync(join(parentPath, name), "latin1")).not.toContain(deploying.token.slice(-40));
    }
  });

  test(`it ends within ${keepSeconds} s of the last answer, however often it is used`, async () => {
    let lastServed = 0;
    for (;;) {
      const asked = Date.now();
      const { status } = await call("POST /v1/releases", deploying.token);
      if (status === 503) break;
      expect(status).toBe(200);
      lastServed = asked;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(lastServed - heardAt).toBeGreaterThan((keepSeconds - 2.5) * 1000);
    expect(lastServed - heardAt).toBeLessThanOrEqual(keepSeconds * 1000);
  });

  test("with the broker back, all is decided anew, and what was kept is recorded", async () => {
    broker = await startBroker();
    expect(await call("POST /v1/releases", deploying.token)).toMatchObject({ status: 200 });
    expect(await call("GET /v1/other", ended.token)).toMatchObject({ status: 401 });
    const text = lab.nginx.read("wayleave.log");
    const answer = await fetch(`${installation.url}/v1/gateway/log?file=1&offset=0`, {
      method: "POST",
      headers: {
        "content-type": "application/x-ndjson",
        "x-wayleave-gateway": "edge-1",
        "x-wayleave-gateway-secret": installation.gatewaySecret,
      },
      body: text,
    });
    expect(answer.status).toBe(200);
    const records = await operatorRecords({ broker }, `kind=gateway.request&session=${deploying.id}&limit=200`);
    const kept = records.filter((one) => one.kind === "gateway.request" && one.data.enforced === "kept");
    expect(kept.length).toBeGreaterThan(2);
    expect(kept.every(({ session }) => session === deploying.id)).toBe(true);
  });
});
