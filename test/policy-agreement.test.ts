import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import fc from "fast-check";
import { pino } from "pino";
import { Agent, request } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobOptions } from "../demo/gitlab/pipelines.ts";
import type { MergeRequest, Project, User } from "../demo/gitlab/types.ts";
import { createJobClient } from "../demo/job-client.ts";
import { startGitlabCi } from "../demo/story-gitlab.ts";
import { vocabulary } from "../src/ci/providers.ts";
import { loadConfig } from "../src/config/load.ts";
import type { Decision } from "../src/core/decision.ts";
import type { FactValue } from "../src/core/fact.ts";
import type { JobIdentity } from "../src/core/identity.ts";
import { can } from "../src/policy/can.ts";
import { compile } from "../src/policy/compile.ts";
import { imagineFacts, imagineIdentity } from "../src/policy/imagine.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import type { Policy } from "../src/policy/policy.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { askEdge } from "./edge-question.ts";
import { type AgreementRequest, agreementRequest, policyText, targetNames } from "./policy-agreement-cases.ts";

/** Grants every job all targets, so that tokens name them, and asks for every fact, so that they are read; allows nothing. */
const firstPolicy = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
  review: { http: { hosts: [pr.review.internal] } }
  reports: { http: { hosts: [reports.internal] } }
roles:
  first:
    for: [{ gitlab: { group: acme } }]
    when: change.approvals > 100 && change.merged && change.iid > 0 && change.state == change.target && change.draft
    allow: { billing: ["GET /**"], review: ["GET /**"], reports: ["GET /**"] }
`;

/** A live session, and the same job as somebody would imagine it on the command line. */
interface Someone {
  readonly token: string;
  readonly session: string;
  readonly claims: Readonly<Record<string, string | boolean>>;
  readonly facts: Readonly<Record<string, FactValue>>;
}

let installation: BrokerInstallation;
let ci: Awaited<ReturnType<typeof startGitlabCi>>;
let broker: RunningServer;
let client: ReturnType<typeof createJobClient>;
const everyone: Someone[] = [];
const web = new Agent({ connections: 16 });
let operator: Agent;

beforeAll(async () => {
  installation = await installBroker({
    policy: firstPolicy,
    targets: targetNames,
    ci: async (url, ca) => {
      ci = await startGitlabCi(url, ca);
      return ci.part;
    },
  });
  const loaded = loadConfig({ path: installation.configPath, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  // Facts are read once, at the exchange, and stay fresh: nothing changes under the comparison.
  broker = await startServer(loaded.config, { log: pino({ level: "silent" }), timings: { pollMs: 3_600_000 } });
  client = createJobClient(installation.url, "");
  operator = new Agent({ connect: { socketPath: installation.adminSocket }, connections: 8 });
  await openSessions();
});

afterAll(async () => {
  await client?.close();
  await Promise.all([web.close(), operator?.close()]);
  await broker?.close();
  await ci?.gitlab.close();
  installation?.remove();
});

async function openSessions(): Promise<void> {
  const { gitlab, shop, dana, lee, change } = ci;
  const other = gitlab.createProject({ path: "acme/other", members: { lee: "developer" } });
  gitlab.pushCommit(shop, "feature/y");
  const merged = gitlab.openMergeRequest(shop, { sourceBranch: "feature/y", author: dana });
  gitlab.approve(merged, lee);
  gitlab.approve(merged, gitlab.createUser({ username: "kim" }));
  gitlab.mergeMergeRequest(merged, { user: lee });
  const landed = { "change.merged": true, "change.approvals": 2, ...factsOf(merged) };
  const open = { "change.merged": false, "change.approvals": 1, ...factsOf(change) };
  await openSession({ project: shop, user: dana, mergeRequest: change, facts: open });
  await openSession({ project: shop, user: lee, mergeRequest: merged, facts: landed });
  await openSession({ project: shop, user: lee, ref: "main", environment: "production", facts: landed });
  await openSession({ project: other, user: lee, ref: "main", environment: "canary", facts: {} });
  gitlab.pushCommit(shop, "main");
  await openSession({ project: shop, user: dana, ref: "main", facts: {} });
}

const factsOf = ({ iid, state, targetBranch, sourceBranch }: MergeRequest) => ({
  "change.iid": iid,
  "change.state": state,
  "change.target": targetBranch,
  "change.source": sourceBranch,
  "change.draft": false,
});

async function openSession(of: {
  readonly project: Project;
  readonly user: User;
  readonly ref?: string;
  readonly mergeRequest?: MergeRequest;
  readonly environment?: string;
  readonly facts: Someone["facts"];
}): Promise<void> {
  const { project, user, ref, mergeRequest, environment, facts } = of;
  const job: JobOptions = { name: "build", ...(environment === undefined ? {} : { environment }) };
  const where =
    mergeRequest === undefined ? { ref: ref ?? "main" } : ({ source: "merge_request_event", mergeRequest } as const);
  const pipeline = ci.gitlab.startPipeline(project, { ...where, user, jobs: [job] });
  const [started] = pipeline.jobs;
  if (started === undefined) throw new TypeError("the pipeline has a job");
  ci.gitlab.runJob(started);
  await ci.gitlab.flush();
  const { status, body } = await client.exchange(await ci.gitlab.idToken(started, { aud: installation.url }));
  expect([status, body.code]).toEqual([200, undefined]);
  everyone.push({
    token: String(body.access_token),
    session: String(body.session_id),
    facts,
    claims: {
      project: project.path,
      project_id: String(project.id),
      ref: pipeline.sourceRef,
      ref_type: "branch",
      ref_protected: pipeline.sourceRef === "main",
      source: pipeline.source,
      user_login: user.username,
      ...(environment === undefined ? {} : { environment }),
    },
  });
}

/** Puts a policy in force on the live broker, and compiles the same text here. */
async function inForce(text: string): Promise<Policy> {
  writeFileSync(join(installation.policyPath, "policy.yaml"), text);
  const version = await broker.reloadPolicy();
  const { model, diagnostics } = parsePolicy({
    files: [{ name: "policy/policy.yaml", text: readFileSync(join(installation.policyPath, "policy.yaml"), "utf8") }],
    vocabulary,
    issuers: [{ name: "gitlab", type: "gitlab" }],
  });
  if (model === undefined) throw new Error(JSON.stringify(diagnostics));
  expect(model.version).toBe(version);
  return compile(model, vocabulary);
}

interface Told {
  readonly effect: string;
  readonly reason: string;
  readonly rule: string | undefined;
  readonly missing: string | undefined;
}

const told = ({ effect, reason, rule, missing }: Decision): Told => ({ effect, reason, rule, missing });

/** What all three say about one request: imagined, asked by an operator, asked by a gateway. */
async function compare(policy: Policy, identities: readonly JobIdentity[], asked: AgreementRequest) {
  const who = everyone[asked.session];
  const identity = identities[asked.session];
  if (who === undefined || identity === undefined) throw new TypeError("the session is one of them");
  const { target, method, path } = asked;
  const now = Date.now();
  const [host = ""] = policy.hostsFor(target, identity);
  const operation = { kind: "http", method, host, path, stream: false } as const;
  const ask = { verb: method, target, object: path, operation };
  const imagined = can(policy, identity, imagineFacts(who.facts, now), ask, now);
  const question = { session: who.session, target, verb: method, object: path };
  const live = await askCan(question);
  const edge = await askEdge(installation, { token: who.token, target, method, host, path }, web);
  const outcome = imagined.effect === "allow" ? "allow" : imagined.mode === "observe" ? "would_deny" : "deny";
  expect({ asked, live: told(live) }).toEqual({ asked, live: told(imagined) });
  expect({ asked, decision: edge.decision, reason: edge.reason, rule: edge.rule }).toEqual({
    asked,
    decision: outcome,
    reason: imagined.reason,
    rule: imagined.rule,
  });
  return imagined;
}

async function askCan(question: object): Promise<Decision> {
  const answer = await request("http://operator/v1/can", {
    method: "POST",
    dispatcher: operator,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(question),
  });
  const { decision } = (await answer.body.json()) as { decision: Decision };
  return decision;
}

const policies = 40;
const requests = 250;

test(`policy can, the operator's question and the gateway's decision agree on ${policies * requests} generated cases`, async () => {
  const reasons = new Map<string, number>();
  const texts = fc.sample(policyText, { numRuns: policies, seed: 7 });
  for (const [at, text] of texts.entries()) {
    const policy = await inForce(text);
    const identities = everyone.map(({ claims }) => imagineIdentity("gitlab", "gitlab", claims));
    const asked = fc.sample(agreementRequest(everyone.length), { numRuns: requests, seed: at });
    const decisions = await Promise.all(asked.map((one) => compare(policy, identities, one)));
    for (const { reason } of decisions) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  expect([...reasons.values()].reduce((sum, count) => sum + count, 0)).toBe(policies * requests);
  // The cases reach every kind of answer that policy can give here.
  for (const reason of [
    "allowed",
    "no_role",
    "condition_failed",
    "fact_missing",
    "denied",
    "ambiguous_path",
    "template_unfilled",
  ]) {
    expect([reason, (reasons.get(reason) ?? 0) > 50]).toEqual([reason, true]);
  }
});

const bin = fileURLToPath(new URL("../bin/wayleave", import.meta.url));

test("and so does `wayleave policy can` as people type it", async () => {
  const [text = ""] = fc.sample(policyText, { numRuns: 1, seed: 11 });
  await inForce(text);
  for (const asked of fc.sample(agreementRequest(everyone.length), { numRuns: 8, seed: 12 })) {
    const who = everyone[asked.session];
    if (who === undefined) throw new TypeError("the session is one of them");
    const words = [
      ...Object.entries(who.claims).flatMap(([name, value]) => ["--as", `${name}=${value}`]),
      ...Object.entries(who.facts).flatMap(([name, value]) => ["--with", `${name}=${value}`]),
    ];
    const config = ["--config", installation.configPath, "--policy", installation.policyPath, "--json"];
    const args = ["policy", "can", ...words, ...config, asked.method, asked.target, asked.path];
    const { code = 0, stdout } = (await promisify(execFile)(bin, args).catch(
      (error: { code: number; stdout: string }) => error,
    )) as { code?: number; stdout: string };
    const live = await askCan({ session: who.session, target: asked.target, verb: asked.method, object: asked.path });
    expect({ asked, says: told(JSON.parse(stdout) as Decision) }).toEqual({ asked, says: told(live) });
    expect(code).toBe(live.effect === "allow" ? 0 : 3);
  }
});
