import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createJobClient } from "../demo/job-client.ts";
import type { RolloutResponse } from "../src/api/contract.ts";
import { fakeIo } from "../src/cli/job/command-io.fake.ts";
import { runCli } from "../src/cli/program.ts";
import { loadConfig } from "../src/config/load.ts";
import type { AuditRecord } from "../src/core/record.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { billing, type CrashCi, startCrashCi } from "./broker-crash-load.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { askEdge, type EdgeAnswer } from "./edge-question.ts";
import { askOperator, operatorRecords } from "./operator.ts";

const policyOf = (allow: string, more = "") => `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { acme: { gitlab: { project: [acme/shop, acme/blog] } } }
roles:
  read-billing: { for: [acme], allow: { billing: ["${allow}"] } }
${more}`;
const first = policyOf("GET /v1/invoices/**");
/** No invoices any more, but health. */
const second = policyOf("GET /v1/health");
const third = policyOf("GET /v1/**");
const failing = policyOf(
  "GET /v1/health",
  `tests:
  - name: invoices are read
    as: { gitlab: { project: acme/shop } }
    can: [GET billing /v1/invoices/42]
`,
);
const withdrawn = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { nobody: { gitlab: { project: acme/nobody } } }
roles:
  read-billing: { for: [nobody], allow: { billing: [GET /v1/health] } }
`;

let installation: BrokerInstallation;
let ci: CrashCi;
let broker: RunningServer;
let client: ReturnType<typeof createJobClient>;
const tokens = { shop: "", blog: "" };

beforeAll(async () => {
  installation = await installBroker({
    policy: first,
    targets: ["billing"],
    ci: async (url) => {
      ci = await startCrashCi(url);
      return ci.part;
    },
  });
  client = createJobClient(installation.url, "");
  broker = await start();
  const blog = ci.gitlab.createProject({ path: "acme/blog", members: { dana: "developer" } });
  tokens.shop = await tokenOf(ci.shop);
  tokens.blog = await tokenOf(blog);
});

afterAll(async () => {
  await client?.close();
  await broker?.close();
  await ci?.gitlab.close();
  installation?.remove();
});

async function start(): Promise<RunningServer> {
  const loaded = loadConfig({ path: installation.configPath, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  return startServer(loaded.config, { log: pino({ level: "silent" }) });
}

async function restart(): Promise<void> {
  await broker.close();
  broker = await start();
}

async function tokenOf(project: CrashCi["shop"]): Promise<string> {
  const [job] = ci.gitlab.startPipeline(project, { user: ci.user, jobs: ["build"] }).jobs;
  if (job === undefined) throw new TypeError("the pipeline has a job");
  ci.gitlab.runJob(job);
  const { status, body } = await client.exchange(await ci.gitlab.idToken(job, { aud: installation.url }));
  if (status !== 200) throw new Error(JSON.stringify(body));
  return String(body.access_token);
}

const call = (who: keyof typeof tokens, path: string = billing.path): Promise<EdgeAnswer> =>
  askEdge(installation, { ...billing, path, method: "GET", token: tokens[who] });

const world = () => ({ broker: { adminSocket: installation.adminSocket } });
const status = async () => (await askOperator<RolloutResponse>(world(), "GET", "/v1/policy")).body;

async function decisionOf({ record }: EdgeAnswer) {
  const { body } = await askOperator<AuditRecord>(world(), "GET", `/v1/records/${record}`);
  if (body.kind !== "decision") throw new TypeError(`${record} is of kind ${body.kind}`);
  return body.data;
}

/** One command of an operator. */
async function typed(...argv: readonly string[]) {
  const io = fakeIo();
  const code = await runCli([...argv, "--config", installation.configPath], io);
  return { code, out: io.out(), err: io.err() };
}

/** A policy as a file of its own. */
function file(name: string, text: string): string {
  const folder = join(installation.directory, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "policy.yaml"), text);
  return folder;
}

/** The policy's own file, as an editor saves it, and loaded. */
async function save(text: string): Promise<string> {
  writeFileSync(join(installation.directory, "policy.new"), text);
  renameSync(join(installation.directory, "policy.new"), join(installation.policyPath, "policy.yaml"));
  return broker.reloadPolicy();
}

const kinds = async (kind: string) => (await operatorRecords(world(), `kind=${kind}`)).map(({ data }) => data);

describe("without a candidate", () => {
  test.each([
    { what: "promote", argv: ["promote"], code: "no_candidate" },
    { what: "canary", argv: ["canary", "--project", "acme/shop"], code: "no_candidate" },
    { what: "withdraw", argv: ["candidate", "--withdraw"], code: "no_candidate" },
    { what: "rollback", argv: ["rollback"], code: "policy_not_kept" },
    { what: "rollback to an unknown version", argv: ["rollback", "0123456789ab"], code: "policy_not_kept" },
    { what: "rollback to what is no version", argv: ["rollback", "../../etc"], code: "invalid_request" },
    { what: "canary for nobody in particular", argv: ["canary"], code: "invalid_request" },
    { what: "canary of more than all", argv: ["canary", "--share", "101"], code: "invalid_request" },
    { what: "a candidate and none", argv: ["candidate", "x", "--withdraw"], code: "invalid_request" },
  ])("$what is refused: $code", async ({ argv, code }) => {
    const { code: exit, err } = await typed("policy", ...argv);
    expect(err).toContain(code);
    expect(exit).toBeGreaterThan(1);
  });

  test("the policy that is in force already is none", async () => {
    const { code, err } = await typed("policy", "candidate", installation.policyPath);
    expect([code, err]).toEqual([2, expect.stringContaining("in force already")]);
  });
});

test("candidate, canary, promotion and rollback, across restarts", async () => {
  const versions: Record<string, string> = { first: (await status()).active.version };
  const before = await call("shop");
  expect(before.decision).toBe("allow");
  expect(await decisionOf(before)).not.toHaveProperty("beside");

  // A candidate whose tests fail, or that is broken, is none.
  for (const text of [failing, "version: 1\ntargets: ["]) {
    const refused = await typed("policy", "candidate", file("broken", text));
    expect([refused.code, refused.out]).toEqual([2, ""]);
    const files = [{ name: "policy.yaml", text }];
    const answer = await askOperator<{ code: string }>(world(), "POST", "/v1/policy/candidate", { files });
    expect([answer.status, answer.body.code]).toEqual([422, "policy_invalid"]);
  }
  expect((await status()).candidate).toBeUndefined();

  // One that is good decides beside, and changes nothing.
  const taken = await typed("policy", "candidate", file("second", second));
  expect([taken.code, taken.err]).toEqual([0, ""]);
  const shadow = await call("shop");
  expect(shadow).toMatchObject({ decision: "allow", rule: "read-billing" });
  versions.second = (await status()).candidate?.version ?? "";
  expect(await decisionOf(shadow)).toMatchObject({
    policy: versions.first,
    outcome: "allow",
    beside: { policy: versions.second, outcome: "deny", reason: "no_role" },
  });
  expect((await call("blog", "/v1/health")).decision).toBe("deny");
  expect(await decisionOf(await call("blog", "/v1/other"))).not.toHaveProperty("beside");
  expect((await status()).disagreements).toMatchObject([
    { effect: "newly_allowed", target: "billing", role: "read-billing", reason: "no_role", count: 1 },
    { effect: "newly_denied", target: "billing", role: "read-billing", reason: "no_role", count: 1 },
  ]);

  // A broken one that comes later leaves both where they are.
  expect((await typed("policy", "candidate", file("broken", failing))).code).toBe(2);
  expect((await status()).candidate?.version).toBe(versions.second);

  // For the canary it decides; nobody else is touched.
  expect((await typed("policy", "canary", "--project", "acme/shop")).out).toContain("1 living session");
  const tried = await call("shop");
  expect(tried.decision).toBe("deny");
  expect(await decisionOf(tried)).toMatchObject({
    policy: versions.second,
    canary: true,
    beside: { policy: versions.first, outcome: "allow", reason: "allowed" },
  });
  expect((await call("shop", "/v1/health")).decision).toBe("allow");
  expect((await call("blog")).decision).toBe("allow");

  await restart();
  expect(await status()).toMatchObject({
    active: { version: versions.first },
    candidate: { version: versions.second },
    canary: { projects: ["acme/shop"], sessions: 1 },
  });
  expect((await status()).disagreements.reduce((sum, { count }) => sum + count, 0)).toBe(5);
  expect((await call("shop")).decision).toBe("deny");
  expect((await call("blog")).decision).toBe("allow");

  // Only the candidate that was looked at is promoted, and once.
  const meant = await typed("policy", "promote", "--version", String(versions.first));
  expect([meant.code, meant.err]).toEqual([3, expect.stringContaining("candidate_changed")]);
  const both = await Promise.all([
    typed("policy", "promote", "--version", versions.second),
    typed("policy", "promote"),
  ]);
  expect(both.map(({ code }) => code).sort()).toEqual([0, 3]);
  expect(both.map(({ err }) => err).join("")).toContain("no_candidate");
  expect((await call("blog")).decision).toBe("deny");
  expect(await status()).toMatchObject({
    active: { version: versions.second, how: "promoted", by: "local operator", replaces: versions.first },
    disk: { version: versions.first, set_aside: true },
  });

  // The files say what they said: a reload and a restart leave them set aside.
  expect(await broker.reloadPolicy()).toBe(versions.second);
  await restart();
  expect((await status()).active.version).toBe(versions.second);
  expect((await call("blog")).decision).toBe("deny");
  expect((await kinds("policy.loaded")).at(0)).toMatchObject({ policy: versions.second, disk: versions.first });

  const back = await typed("policy", "rollback");
  expect(back.out).toContain(`policy ${versions.first} is in force for every job again`);
  expect((await call("blog")).decision).toBe("allow");
  expect((await status()).disk.set_aside).toBe(false);
  expect((await typed("policy", "rollback", String(versions.first))).code).toBe(2);

  // Back to any that was kept; then the files say something new, and that is the policy.
  await typed("policy", "rollback", versions.second.slice(0, 6));
  await restart();
  expect((await status()).active).toMatchObject({ version: versions.second, how: "rolled_back" });
  versions.third = await save(third);
  expect((await status()).active).toMatchObject({ version: versions.third, how: "loaded", replaces: versions.second });
  expect((await call("blog", "/v1/health")).decision).toBe("allow");
  expect((await call("blog")).decision).toBe("allow");

  const [changes, list] = [await kinds("policy.rolled_back"), await typed("policy", "list", "--json")];
  expect(changes).toMatchObject([
    { policy: versions.second, replaces: versions.first, disk: versions.first, by: "local operator" },
    { policy: versions.first, replaces: versions.second, disk: versions.first },
  ]);
  expect(
    JSON.parse(list.out)
      .policies.map(({ version }: { version: string }) => version)
      .toSorted(),
  ).toEqual(Object.values(versions).toSorted());
});

test("what was promoted and is lost stops the start, and says what would help", async () => {
  await typed("policy", "candidate", file("second", second));
  await typed("policy", "promote");
  const kept = join(installation.dataDir, "policies");
  const { version } = (await status()).active;
  expect(readdirSync(kept)).toContain(`${version}.json`);
  renameSync(join(kept, `${version}.json`), join(kept, "away"));
  await broker.close();
  await expect(start()).rejects.toThrow(/in force by an operator's word.*Change the files/);
  writeFileSync(join(kept, `${version}.json`), JSON.stringify({ files: [{ name: "policy.yaml", text: third }] }));
  await expect(start()).rejects.toThrow(/in force by an operator's word/);
  rmSync(join(kept, `${version}.json`));
  renameSync(join(kept, "away"), join(kept, `${version}.json`));
  broker = await start();
  expect((await status()).active.version).toBe(version);
});

test("a session that a promoted policy grants nothing is suspended, and goes on after a rollback", async () => {
  const { version } = (await status()).active;
  await typed("policy", "candidate", file("withdrawn", withdrawn));
  await typed("policy", "promote");
  await expect.poll(async () => (await call("shop", "/v1/health")).reason).toBe("session_suspended");
  await typed("policy", "rollback");
  expect((await status()).active.version).toBe(version);
  await expect.poll(async () => (await call("shop", "/v1/health")).decision).toBe("allow");
});
