import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../demo/free-port.ts";
import { sendSpool } from "../src/cli/breakglass-send.ts";
import { respond } from "../src/cli/breakglass-serve.ts";
import { type BreakglassSpool, openSpool } from "../src/cli/breakglass-spool.ts";
import { fakeIo } from "../src/cli/job/command-io.fake.ts";
import { runCli } from "../src/cli/program.ts";
import { loadConfig } from "../src/config/load.ts";
import type { GatewaysResponse } from "../src/gateway/gateway-summary.ts";
import { fakePolicy } from "../src/gateway/nginx/policy.fake.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { type CrashCi, startCrashCi } from "./broker-crash-load.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { type Lab, request, startLab } from "./nginx-lab.ts";
import { askOperator, operatorRecords } from "./operator.ts";

const policyText = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } }, ledger: { http: { hosts: [ledger.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles: { read: { for: [shop], allow: { billing: [GET /v1/**], ledger: [GET /v1/**] } } }
`;

let folder = "";
let installation: BrokerInstallation;
let ci: CrashCi;
let broker: RunningServer | undefined;
let lab: Lab;
let responder: Server;
let spool: BreakglassSpool;
let said: ReturnType<typeof fakeIo>;

/** One command as a person types it; gives what it printed. */
async function wayleave(...argv: string[]) {
  const io = { ...fakeIo(), cwd: folder, env: {}, now: Date.now };
  const status = await runCli(argv, io);
  return { status, out: io.out().trim(), err: io.err() };
}

async function key(name: string, ...more: string[]): Promise<{ name: string; public_key: string }> {
  const { out } = await wayleave("breakglass", "key", "--name", name, "--json", ...more);
  return JSON.parse(out).approver;
}

const reason = "the broker lost its disk; release 4.2 must go out";
const config = () => ["--config", installation.configPath];
const makeRequest = async (...more: string[]) =>
  (await wayleave("breakglass", "request", "--target", "billing", "--reason", reason, ...more, ...config())).out;
const sign = (file: string, name: string) => wayleave("breakglass", "sign", file, "--key", `${name}.breakglass.pem`);
const call = (line: string, token?: string) =>
  request(lab.nginx.port, line, token === undefined ? {} : { Authorization: `Bearer ${token}` });

function startBroker(): Promise<RunningServer> {
  const loaded = loadConfig({ path: installation.configPath, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  return startServer(loaded.config, { log: pino({ level: "silent" }) });
}

let token = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wayleave-breakglass-"));
  const approvers = [await key("dana"), await key("kim", "--es256")];
  await key("eve");
  const port = await freePort();
  installation = await installBroker({
    policy: policyText,
    targets: ["billing", "ledger"],
    gateway: { breakglass: `127.0.0.1:${port}` },
    more: { breakglass: { approvers } },
    ci: async (url) => {
      ci = await startCrashCi(url);
      return ci.part;
    },
  });
  const secretFile = join(installation.directory, "edge-1.secret");
  await wayleave("render", "nginx", "--out", "rendered", ...config());
  const settings = JSON.parse(readFileSync(join(folder, "rendered", "wayleave-breakglass.json"), "utf8"));
  spool = await openSpool(join(folder, "spool"));
  said = fakeIo();
  responder = respond({ ...said, now: Date.now }, settings, readFileSync(secretFile, "utf8"), spool);
  await new Promise<void>((resolve) => responder.listen(port, "127.0.0.1", resolve));
  expect((responder.address() as AddressInfo).port).toBe(port);
  broker = await startBroker();
  lab = await startLab({
    policy: fakePolicy([{ name: "billing" }, { name: "ledger" }]),
    decisionPoint: { url: installation.url, gatewaySecret: installation.gatewaySecret },
    gateway: { breakglass: `127.0.0.1:${port}` },
    server: (upstream) => `
      location / { include @lab/wayleave/wayleave-location-billing.conf; proxy_pass ${upstream}; }
      location /ledger/ { include @lab/wayleave/wayleave-location-ledger.conf; proxy_pass ${upstream}; }`,
  });
  const file = await makeRequest("--for", "1h");
  await sign(file, "dana");
  await sign(file, "kim");
  token = (await wayleave("breakglass", "use", file, ...config())).out;
});

afterAll(async () => {
  await lab?.stop();
  lab?.nginx.remove();
  responder?.close();
  await spool?.close();
  await broker?.close();
  await ci?.gitlab.close();
  installation?.remove();
  rmSync(folder, { recursive: true, force: true });
});

test("a key is its owner's alone, and never written over", async () => {
  expect(statSync(join(folder, "dana.breakglass.pem")).mode & 0o777).toBe(0o600);
  expect(await wayleave("breakglass", "key", "--name", "dana")).toMatchObject({ status: 2 });
});

test("while the broker answers, nobody asks the responder", async () => {
  expect(await call("GET /v1/a", token)).toMatchObject({ status: 401 });
  expect(await spool.waiting(10)).toEqual([]);
});

describe("no token is made", () => {
  test.each<{ what: string; signers: string[]; more?: string[]; refused: string }>([
    { what: "of nobody's signature", signers: [], refused: "breakglass_unsigned" },
    { what: "of one signature", signers: ["dana"], refused: "breakglass_unsigned" },
    { what: "with somebody who is not listed", signers: ["dana", "eve"], refused: "breakglass_unlisted" },
    { what: "before its start", signers: ["dana", "kim"], more: ["--in", "5m"], refused: "breakglass_not_yet" },
  ])("$what: $refused", async ({ signers, more = [], refused }) => {
    const file = await makeRequest(...more);
    for (const name of signers) expect(await sign(file, name)).toMatchObject({ status: 0 });
    const used = await wayleave("breakglass", "use", file, ...config());
    expect(used).toMatchObject({ status: 3, out: "" });
    expect(used.err).toContain(refused);
  });

  test("of one person's two signatures, nor for more than an hour", async () => {
    const file = await makeRequest();
    await sign(file, "dana");
    expect((await sign(file, "dana")).err).toContain("breakglass_same_signer");
    const long = await wayleave(
      "breakglass",
      "request",
      "--target",
      "billing",
      "--reason",
      reason,
      "--for",
      "61m",
      ...config(),
    );
    expect(long.err).toContain("breakglass_too_long");
  });
});

describe("with the broker away", () => {
  beforeAll(async () => {
    await broker?.close();
    broker = undefined;
  });

  test("two signatures open the named target; the use is on disk and said aloud, and the token goes no further", async () => {
    expect(await call("POST /v1/releases", token)).toMatchObject({ status: 200 });
    expect(JSON.stringify(lab.served.at(-1))).not.toContain("wlbg_");
    expect(lab.served.at(-1)?.rawHeaders).toContain("break-glass");
    const [use] = await spool.waiting(10);
    expect(use).toMatchObject({ outcome: "allow", operation: "POST /v1/releases", approvers: ["dana", "kim"] });
    expect(said.err()).toContain("BREAK-GLASS allow billing POST /v1/releases (signed by dana and kim");
    expect(readFileSync(join(folder, "spool", "breakglass.jsonl"), "utf8")).not.toContain(token.slice(20, 60));
  });

  test.each<{ what: string; line: string; token: () => string | undefined; status: number; reason: string }>([
    {
      what: "another target",
      line: "GET /ledger/x",
      token: () => token,
      status: 403,
      reason: "breakglass_wrong_target",
    },
    {
      what: "a changed token",
      line: "GET /v1/a",
      token: () => `${token}A`,
      status: 403,
      reason: "breakglass_malformed",
    },
    {
      what: "an ambiguous path",
      line: "GET /v1/%2e%2e/a",
      token: () => token,
      status: 403,
      reason: "breakglass_ambiguous",
    },
    { what: "no token", line: "GET /v1/a", token: () => undefined, status: 503, reason: "outage" },
    { what: "any other token", line: "GET /v1/a", token: () => "x.y.z", status: 503, reason: "outage" },
  ])("$what: $status $reason", async ({ line, token: given, status, reason: why }) => {
    const before = lab.served.length;
    expect(await call(line, given())).toMatchObject({ status, headers: { "x-wayleave-reason": why } });
    expect(lab.served).toHaveLength(before);
  });

  test("without the responder it is an outage", async () => {
    const { port } = responder.address() as AddressInfo;
    responder.closeAllConnections();
    await new Promise((resolve) => responder.close(resolve));
    expect(await call("GET /v1/a", token)).toMatchObject({ status: 503, headers: { "x-wayleave-reason": "outage" } });
    await new Promise<void>((resolve) => responder.listen(port, "127.0.0.1", resolve));
  });

  test("the broker back: it decides again, has every use once, and status outputs say that glass is broken", async () => {
    broker = await startBroker();
    const stop = new AbortController();
    const credential = {
      name: "edge-1",
      secret: installation.gatewaySecret,
      brokerUrl: installation.url,
      ca: undefined,
    };
    const io = { ...fakeIo(), pause: async () => stop.abort() };
    await sendSpool(io, spool, credential, stop.signal);
    expect(await spool.waiting(10)).toEqual([]);
    const records = await operatorRecords({ broker }, "kind=breakglass.used&limit=50");
    expect(
      records.map(({ data }) => (data as { outcome: string }).outcome).filter((one) => one === "allow"),
    ).toHaveLength(1);
    const again = await openSpool(join(folder, "spool"));
    rmSync(join(folder, "spool", "breakglass.sent"));
    await again.close();
    const repeated = await openSpool(join(folder, "spool"));
    const second = new AbortController();
    await sendSpool({ ...fakeIo(), pause: async () => second.abort() }, repeated, credential, second.signal);
    await repeated.close();
    expect(await operatorRecords({ broker }, "kind=breakglass.used&limit=50")).toHaveLength(records.length);
    const { body } = await askOperator<GatewaysResponse>({ broker }, "GET", "/v1/gateways");
    expect(body.breakglass).toMatchObject([{ approvers: ["dana", "kim"], reason, targets: ["billing"], uses: 1 }]);
    const listed = await wayleave("gateway", "list", ...config());
    expect(listed.out).toContain("BREAK-GLASS IN FORCE");
    expect(await call("POST /v1/releases", token)).toMatchObject({ status: 401 });
  });

  test("uses of a gateway that proves nothing are not taken", async () => {
    const answer = await fetch(`${installation.url}/v1/gateway/breakglass`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-wayleave-gateway": "edge-1",
        "x-wayleave-gateway-secret": "wrong",
      },
      body: '{"uses":[]}',
    });
    expect(answer.status).toBe(403);
  });
});
