import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createJobClient } from "../demo/job-client.ts";
import type { StatusResponse } from "../src/api/contract.ts";
import { loadConfig } from "../src/config/load.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { billing, type CrashCi, startCrashCi, startJob } from "./broker-crash-load.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { startBrokerProcess } from "./broker-process.ts";
import { askEdge } from "./edge-question.ts";
import { askOperator } from "./operator.ts";
import { type RecordStream, streamRecords } from "./record-queue.ts";

const policyFor = (project: string, allow: string) => `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: ${project} } } }
roles:
  read-billing: { for: [shop], allow: { billing: ["${allow}"] } }
`;
const good = policyFor("acme/shop", "GET /v1/invoices/**");
const narrower = policyFor("acme/shop", "GET /v1/health");
const withdrawn = policyFor("acme/other", "GET /v1/invoices/**");
const failing = `${good}tests:
  - name: nobody deletes
    as: { gitlab: { project: acme/shop, ref: main } }
    can: [DELETE billing /v1/invoices/42]
`;

const bad = [
  { what: "not YAML", text: "version: 1\ntargets: [" },
  { what: "empty", text: "" },
  { what: "cut in the middle", text: good.slice(0, 120) },
  { what: "naming a target that is not there", text: good.replace("{ billing: [", "{ biling: [") },
  { what: "whose tests fail", text: failing },
];

let installation: BrokerInstallation;
let ci: CrashCi;
let client: ReturnType<typeof createJobClient>;

beforeAll(async () => {
  installation = await installBroker({
    policy: good,
    targets: ["billing"],
    logLevel: "info",
    ci: async (url) => {
      ci = await startCrashCi(url);
      return ci.part;
    },
  });
  client = createJobClient(installation.url, "");
});

afterAll(async () => {
  await client?.close();
  await ci?.gitlab.close();
  installation?.remove();
});

const file = () => join(installation.policyPath, "policy.yaml");

/** As an editor saves: a new file in place of the old one. */
function save(text: string): void {
  writeFileSync(join(installation.directory, "policy.new"), text);
  renameSync(join(installation.directory, "policy.new"), file());
}

async function status(): Promise<StatusResponse["policy"]> {
  const { adminSocket } = installation;
  return (await askOperator<StatusResponse>({ broker: { adminSocket } }, "GET", "/v1/status")).body.policy;
}

describe("a broker that watches its policy", () => {
  let broker: RunningServer;
  let records: RecordStream;
  let token: string;

  beforeEach(async () => {
    save(good);
    const loaded = loadConfig({ path: installation.configPath, env: {} });
    if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
    const timings = { withdrawnEndMs: 5_000 };
    broker = await startServer(loaded.config, { log: pino({ level: "silent" }), timings });
    records = await streamRecords(installation.adminSocket);
    const { body } = await client.exchange(await ci.gitlab.idToken(startJob(ci), { aud: installation.url }));
    token = String(body.access_token);
  });

  afterEach(async () => {
    records.close();
    await broker.close();
  });

  const ask = async () => {
    const { reason, decision } = await askEdge(installation, { ...billing, method: "GET", token });
    return `${decision}: ${reason}`;
  };

  test.each(bad)("keeps the good one over a file $what, says so, and goes on deciding", async ({ text }) => {
    const { version } = await status();
    save(text);
    const refused = await records.next("policy.refused");
    expect(refused.data.problems).toBeGreaterThan(0);
    const now = await status();
    expect(now.version).toBe(version);
    expect(now.problem).toContain("policy.yaml");
    expect(await ask()).toBe("allow: allowed");
    save(good);
    await records.next("policy.loaded");
    expect((await status()).problem).toBeUndefined();
  });

  test("keeps the good one when the file is gone", async () => {
    renameSync(file(), join(installation.directory, "policy.away"));
    await records.next("policy.refused");
    expect(await ask()).toBe("allow: allowed");
  });

  test("follows each good file, however it is saved, for sessions that are open already", async () => {
    for (const [text, answer] of [
      [narrower, "deny: no_role"],
      [good, "allow: allowed"],
      [narrower, "deny: no_role"],
    ] as const) {
      save(text);
      const { data } = await records.next("policy.loaded");
      expect(data.policy).toBe((await status()).version);
      expect(await ask()).toBe(answer);
    }
    writeFileSync(file(), good);
    await records.next("policy.loaded");
    expect(await ask()).toBe("allow: allowed");
  });

  test("tells an operator who asks for the reload what is wrong", async () => {
    save(failing);
    const { status: code, body } = await askOperator<{ code: string; detail: string }>(
      { broker },
      "POST",
      "/v1/policy/reload",
    );
    expect([code >= 400 && code < 500, body.code]).toEqual([true, "policy_invalid"]);
    expect(body.detail).toContain("nobody deletes");
  });

  test("suspends a session that policy grants nothing, resumes it when it does again, and ends it when it stays so", async () => {
    save(withdrawn);
    expect((await records.next("session.suspended")).data.reason).toBe("policy_withdrawn");
    expect(await ask()).toBe("deny: session_suspended");
    save(good);
    expect((await records.next("session.resumed")).data.reason).toBe("policy_withdrawn");
    expect(await ask()).toBe("allow: allowed");
    save(withdrawn);
    expect((await records.next("session.ended")).data.reason).toBe("policy_withdrawn");
    save(good);
    await records.next("policy.loaded");
    expect(await ask()).toBe("deny: session_ended");
  });

  test("puts in force what was read last, when reloads overlap", async () => {
    const versions = await Promise.all(
      [narrower, good, narrower, good].map((text) => {
        save(text);
        return broker.reloadPolicy();
      }),
    );
    expect((await status()).version).toBe(versions.at(-1));
    expect(await ask()).toBe("allow: allowed");
  });
});

test("a policy that is one file is followed through every save, also where each save renames another file to it", async () => {
  save(good);
  const loaded = loadConfig({ path: installation.configPath, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  const broker = await startServer({ ...loaded.config, policyPath: file() }, { log: pino({ level: "silent" }) });
  try {
    const records = await streamRecords(installation.adminSocket);
    const versions = new Set([(await status()).version]);
    for (const project of ["acme/a", "acme/b", "acme/c"]) {
      save(policyFor(project, "GET /v1/health"));
      versions.add((await records.next("policy.loaded")).data.policy);
    }
    expect(versions.size).toBe(4);
    records.close();
  } finally {
    await broker.close();
  }
});

test("`wayleave serve` loads its policy again on SIGHUP, and refuses a bad one without ending", async () => {
  save(good);
  const broker = await startBrokerProcess(installation.configPath);
  try {
    const records = await streamRecords(installation.adminSocket);
    const { version } = await status();
    await broker.kill("SIGHUP"); // nothing changed, so nobody but the signal asks for this
    expect((await records.next("policy.loaded")).data.policy).toBe(version);
    save(failing);
    await broker.kill("SIGHUP");
    await records.next("policy.refused");
    expect(await status()).toMatchObject({ version, problem: expect.stringContaining("nobody deletes") });
    save(narrower);
    await broker.kill("SIGHUP");
    expect((await records.next("policy.loaded")).data.policy).not.toBe(version);
    records.close();
  } finally {
    await broker.kill("SIGTERM");
  }
});
