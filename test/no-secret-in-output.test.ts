import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { request as httpRequest } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Job } from "../demo/gitlab/types.ts";
import { createJobClient } from "../demo/job-client.ts";
import { startGitlabCi } from "../demo/story-gitlab.ts";
import { vocabulary } from "../src/ci/providers.ts";
import { compile } from "../src/policy/compile.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { type BrokerProcess, startBrokerProcess } from "./broker-process.ts";
import { type Lab, request, startLab } from "./nginx-lab.ts";

/** Law 7: no secret appears in any output, whatever the input. One installation, everything that can happen to a secret. */
const policyText = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
  free: { http: { hosts: [free.internal] } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read: { for: [shop], allow: { billing: ["GET /v1/**"], free: ["GET /free/**"] } }
  release: { for: [shop], when: change.merged && change.approvals >= 1, allow: { billing: [POST /v1/releases] } }
`;

/** By what it is; a JWT's signature stands for the whole, since no part that leaks it would be harmless. */
const secrets = new Map<string, string>();
/** Everything that anybody could read, by where. */
const outputs = new Map<string, string>();

let installation: BrokerInstallation;
let ci: Awaited<ReturnType<typeof startGitlabCi>>;
let broker: BrokerProcess;
let lab: Lab;
let client: ReturnType<typeof createJobClient>;
let record = "";
/** Files of NGINX's cache as they were after each call. */
const cached: string[] = [];

function secret(name: string, value: string): string {
  expect(value.length, name).toBeGreaterThanOrEqual(16);
  secrets.set(name, value);
  const signature = value.split(".")[2];
  if (signature !== undefined && signature.length > 16) secrets.set(`signature of ${name}`, signature);
  return value;
}

/** A secret that is no credential of anybody, in places where one might be put. */
const canary = (name: string) => secret(name, `${randomBytes(24).toString("hex")}`);

function note(where: string, text: unknown): void {
  outputs.set(`${where} #${outputs.size}`, typeof text === "string" ? text : JSON.stringify(text));
}

beforeAll(async () => {
  installation = await installBroker({
    policy: policyText,
    targets: ["billing", "free"],
    logLevel: "debug",
    ci: async (url, ca) => {
      ci = await startGitlabCi(url, ca);
      for (const [name, text] of Object.entries(ci.part.files)) secret(name, text);
      return ci.part;
    },
  });
  secret("the encryption key", installation.encryptionKey);
  secret("the gateway's secret", installation.gatewaySecret);
  broker = await startBrokerProcess(installation.configPath);
  client = createJobClient(installation.url, "");
  const { model } = parsePolicy({
    files: [{ name: "policy.yaml", text: policyText }],
    vocabulary,
    issuers: [{ name: "gitlab", type: "gitlab" }],
  });
  if (model === undefined) throw new TypeError("the broker has loaded this policy already");
  lab = await startLab({
    policy: compile(model, vocabulary),
    decisionPoint: { url: installation.url, gatewaySecret: installation.gatewaySecret },
    gateway: { cacheSeconds: 2, njs: true },
    server: (upstream) =>
      `location / { include @lab/wayleave/wayleave-location-billing.conf; proxy_pass ${upstream}; }
       location /free/ { include @lab/wayleave/wayleave-location-free.conf; proxy_pass ${upstream}; }`,
  });
  await live();
  await commands();
  await lab.stop();
  await broker.kill("SIGTERM");
});

afterAll(async () => {
  await broker?.kill("SIGKILL"); // still there where something before failed
  await client?.close();
  await ci?.gitlab.close();
  lab?.nginx.remove();
  installation?.remove();
});

/** Exchanges good and bad, calls through NGINX, webhooks, refresh, revocation, the end. */
async function live(): Promise<void> {
  const { gitlab, lee, change } = ci;
  const job = await runningJob();
  const subject = secret("the subject token", await gitlab.idToken(job, { aud: installation.url }));
  const key = canary("the idempotency key");
  const { status, body } = await client.exchange(subject, key);
  expect(status).toBe(200);
  const access = secret("the access token", String(body.access_token));
  const refresh = secret("the refresh token", String(body.refresh_token));
  note("the replay's answer", (await client.exchange(subject)).body);
  await badExchanges(job, subject);
  await calls(access);
  gitlab.mergeMergeRequest(change, { user: lee });
  await gitlab.flush();
  note("a release", await request(lab.nginx.port, "POST /v1/releases", { Authorization: `Bearer ${access}` }));
  await hooks();
  const next = await form("/oauth2/token", { grant_type: "refresh_token", refresh_token: refresh });
  const second = secret("the second access token", String(next.access_token));
  const rotated = secret("the second refresh token", String(next.refresh_token));
  note("a revocation", await form("/oauth2/revoke", { token: second }));
  note("a revoked call", await request(lab.nginx.port, "GET /v1/a", { Authorization: `Bearer ${second}` }));
  note(
    "a refresh with an access token",
    await form("/oauth2/token", { grant_type: "refresh_token", refresh_token: access }),
  );
  note("the session", await httpText("/v1/session", "GET", { authorization: `Bearer ${rotated}` }));
  note(
    "no session",
    await httpText("/v1/session", "GET", { authorization: `Bearer ${canary("a wrong refresh token")}` }),
  );
  gitlab.succeedJob(job);
  await gitlab.flush();
  note("a call after the end", await request(lab.nginx.port, "GET /v1/z", { Authorization: `Bearer ${access}` }));
  note("a renewal after the end", await form("/oauth2/token", { grant_type: "refresh_token", refresh_token: rotated }));
  note("an exchange after the end", (await client.exchange(subject, key)).body);
}

async function runningJob(): Promise<Job> {
  const { gitlab, shop, change, dana } = ci;
  const options = { source: "merge_request_event", mergeRequest: change, user: dana, jobs: ["release"] } as const;
  const [job] = gitlab.startPipeline(shop, options).jobs;
  if (job === undefined) throw new TypeError("the pipeline has a job");
  gitlab.runJob(job);
  await gitlab.flush();
  return job;
}

async function badExchanges(job: Job, good: string): Promise<void> {
  const { gitlab, dana } = ci;
  const [head = "", payload = "", signature = ""] = good.split(".");
  const none = Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url");
  const tokens = [
    await gitlab.idToken(job, { aud: "https://other.example" }),
    await gitlab.idToken(job, { aud: installation.url, claims: { exp: 1 } }),
    await gitlab.idToken(job, {
      aud: installation.url,
      claims: { project_path: canary("a claim of a refused token") },
    }),
    await gitlab.humanToken(dana, { aud: installation.url }),
    `${none}.${payload}.${signature}`,
    `${head}.${payload}.${canary("a false signature")}`,
    canary("no token at all"),
    `${canary("a first part")}.${canary("a second part")}.${canary("a third part")}`,
    `${canary("a token with a line break")}\r\nX: y`,
  ];
  for (const [at, token] of tokens.entries()) {
    if (token.length > 300) secret(`bad token ${at}`, token);
    const { status, body } = await client.exchange(token);
    expect([at, status]).toEqual([at, 400]);
    note(`refused exchange ${at}`, body);
  }
  const proof = { DPoP: canary("a false proof") };
  note(
    "a false proof",
    await httpText(
      "/oauth2/token",
      "POST",
      { ...proof, "content-type": "application/x-www-form-urlencoded" },
      `grant_type=refresh_token&refresh_token=${good}`,
    ),
  );
  note("an unknown grant", await form("/oauth2/token", { grant_type: canary("a grant type"), subject_token: good }));
  note(
    "no form",
    await httpText("/oauth2/token", "POST", { "content-type": "application/json" }, `{"subject_token":"${good}"`),
  );
  note("nothing there", await httpText(`/nothing?token=${canary("a query")}`, "GET", {}));
}

async function calls(access: string): Promise<void> {
  const bearer = { Authorization: `Bearer ${access}` };
  const asked = [
    { line: "GET /v1/a", headers: bearer },
    { line: "GET /free/a", headers: { ...bearer, Host: "free.internal" } }, // without any condition, so it is cached
    { line: "POST /v1/releases", headers: bearer },
    { line: "GET /../admin", headers: bearer },
    { line: `GET /v1/a?access_token=${access}&x=${canary("a query through NGINX")}`, headers: bearer },
    { line: "GET /v1/a", headers: { Authorization: `Bearer ${access.slice(0, -8)}AAAAAAAA` } },
    { line: "GET /v1/a", headers: { Authorization: `Bearer ${canary("somebody else's token")}` } },
    { line: "GET /v1/a", headers: { Authorization: `Basic ${canary("somebody's password")}` } },
    { line: "GET /v1/a", headers: { ...bearer, Cookie: `session=${canary("a cookie")}` } },
    { line: "GET /v1/a", headers: { ...bearer, "X-Wayleave-Gateway-Secret": canary("a guessed gateway secret") } },
  ];
  for (const { line, headers } of asked) {
    const answer = await request(lab.nginx.port, line, headers);
    note(line.split("?")[0] ?? "", answer);
    record = answer.headers["x-wayleave-record"] ?? record;
    // A cached answer is dropped after two seconds, and with it its file.
    for (const file of filesBelow(join(lab.nginx.directory, "cache"))) cached.push(readFileSync(file, "latin1"));
  }
  const gateway = { "x-wayleave-gateway": "edge-1", "x-wayleave-target": "billing", "x-original-method": "GET" };
  const original = { ...gateway, "x-original-host": "billing.internal", "x-original-uri": "/v1/a" };
  const wrong = { ...original, "x-wayleave-gateway-secret": canary("a wrong gateway secret") };
  note(
    "a stranger's question",
    await httpText("/authz/nginx", "GET", { ...wrong, authorization: bearer.Authorization }),
  );
}

async function hooks(): Promise<void> {
  const event = { "x-gitlab-event": "Job Hook", "content-type": "application/json" };
  const at = "/hooks/gitlab/shop";
  note(
    "a forged hook",
    await httpText(at, "POST", { ...event, "x-gitlab-token": canary("a forged hook token") }, "{}"),
  );
  const signed = { ...event, "webhook-id": "1", "webhook-timestamp": String(Math.floor(Date.now() / 1000)) };
  const signature = `v1,${canary("a forged signature")}`;
  note(
    "a badly signed hook",
    await httpText(at, "POST", { ...signed, "webhook-signature": signature }, `{"x":"${canary("a hook's body")}"}`),
  );
}

async function form(path: string, fields: Readonly<Record<string, string>>): Promise<Record<string, unknown>> {
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const text = await httpText(path, "POST", headers, new URLSearchParams(fields).toString());
  return text.startsWith("{") ? (JSON.parse(text) as Record<string, unknown>) : {};
}

async function httpText(
  path: string,
  method: "GET" | "POST",
  headers: Readonly<Record<string, string>>,
  body?: string,
): Promise<string> {
  const answer = await httpRequest(`${installation.url}${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body }),
  });
  return answer.body.text();
}

const bin = fileURLToPath(new URL("../bin/wayleave", import.meta.url));

/** What an operator sees, with the secrets of the installation in its files and in the environment. */
async function commands(): Promise<void> {
  const config = ["--config", installation.configPath];
  const asked = [
    ["audit", "list", "--limit", "1000", "--json", ...config],
    ["audit", "list", ...config],
    ["audit", "show", record, ...config],
    ["explain", record, ...config],
    ["session", "list", ...config],
    ["session", "list", "--json", ...config],
    ["config", "check", ...config],
    ["render", "nginx", "--gateway", "edge-1", ...config],
  ];
  for (const args of asked) {
    const env = { PATH: process.env.PATH, WAYLEAVE_ID_TOKEN: secrets.get("the subject token") };
    const { stdout, stderr } = (await promisify(execFile)(bin, args, {
      env,
      cwd: dirname(installation.configPath),
      maxBuffer: 1 << 26,
    }).catch((error: unknown) => error)) as { stdout: string; stderr: string };
    note(`wayleave ${args.slice(0, 2).join(" ")}`, `${stdout}\n${stderr}`);
  }
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Where a secret stands, as it is or in the encodings it might have on its way. Latin 1, so that every byte is a character. */
function found(text: string): string[] {
  return [...secrets].flatMap(([name, value]) => {
    const bytes = Buffer.from(value);
    const spellings = [value, encodeURIComponent(value), bytes.toString("base64"), bytes.toString("hex")];
    // Half of a secret is too much; all tokens of one issuer begin alike, so theirs are the signatures.
    const parts = value.startsWith("eyJ") ? spellings : spellings.map((spelling) => spelling.slice(0, 20));
    return parts.some((part) => text.includes(part)) ? [name] : [];
  });
}

describe("no secret is in", () => {
  test("the journal, the index and every other file of the broker", () => {
    const files = filesBelow(installation.dataDir);
    const names = files.map((file) => relative(installation.dataDir, file));
    expect(names.filter((name) => /^journal\/.*\d/.test(name)).length).toBeGreaterThan(0);
    expect(names).toContain("index.sqlite");
    const text = files.map((file) => readFileSync(file, "latin1")).join("\n");
    for (const kind of ["exchange.refused", "session.opened", "webhook.refused", "credential.revoked", "session.ended"])
      expect([kind, text.includes(`"${kind}"`)]).toEqual([kind, true]);
    for (const file of files)
      expect([relative(installation.dataDir, file), found(readFileSync(file, "latin1"))]).toEqual([
        relative(installation.dataDir, file),
        [],
      ]);
  });

  test("what the broker logs on level debug", () => {
    const log = broker.output();
    expect(log).toContain("a gateway's question was refused");
    expect(found(log)).toEqual([]);
  });

  test("NGINX's logs and its cache", () => {
    const files = filesBelow(lab.nginx.directory).filter((file) => !file.endsWith("/secret.conf"));
    const names = files.map((file) => relative(lab.nginx.directory, file));
    expect(names).toContain("wayleave.log");
    expect(cached.some((text) => text.includes("X-Wayleave-Decision"))).toBe(true);
    expect(cached.flatMap(found)).toEqual([]);
    for (const [at, file] of files.entries())
      expect([names[at], found(readFileSync(file, "latin1"))]).toEqual([names[at], []]);
  });

  test("any answer or command", () => {
    expect(outputs.size).toBeGreaterThan(40);
    expect([...outputs].flatMap(([where, text]) => found(text).map((name) => `${name} in ${where}`))).toEqual([]);
  });
});

test("a secret that was there would have been found", () => {
  const [[name, value] = ["", ""]] = secrets;
  for (const text of [value, encodeURIComponent(value), Buffer.from(value).toString("hex")]) {
    expect(found(`"detail":"${text}"`)).toContain(name);
  }
});
