import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { createProofKey, importProofKey, type ProofKey } from "../src/cli/job/proof-key.ts";
import { runCli } from "../src/cli/program.ts";
import { loadConfig } from "../src/config/load.ts";
import type { AuditRecord, RecordKind } from "../src/core/record.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { operatorRecords } from "./operator.ts";
import { type PeopleIssuer, startPeopleIssuer } from "./people-issuer.ts";

const policy = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles: { read: { for: [shop], allow: { billing: [GET /**] } } }
`;
const accounts = {
  olga: { email: "olga@acme.example", groups: ["staff", "wl-operators"] },
  ada: { email: "ada@acme.example", groups: ["wl-auditors"] },
  vito: { name: "Vito", groups: ["wl-viewers"] },
  april: { groups: ["wl-approvers"] },
  nobody: { groups: ["staff"] },
  bare: {},
  many: { _claim_names: { groups: "src1" }, _claim_sources: { src1: { endpoint: "https://graph.example" } } },
};
const log = pino({ level: "silent" });
let issuer: PeopleIssuer;
let installed: BrokerInstallation;
let broker: RunningServer;
const homes = mkdtempSync(join(tmpdir(), "wayleave-people-"));

beforeAll(async () => {
  issuer = await startPeopleIssuer(accounts);
  // The hardest neighbour: one issuer and one key for jobs and people, as GitLab's own.
  const ci = { issuer: { name: "gitlab", type: "gitlab", url: issuer.url }, files: {} };
  installed = await installBroker({ ci: async () => ci, policy, targets: ["billing"] });
  const file = parse(readFileSync(installed.configPath, "utf8")) as Record<string, unknown>;
  const people = {
    issuer: issuer.url,
    client_id: issuer.clientId,
    roles: { operator: ["wl-operators"], auditor: ["wl-auditors"], viewer: ["wl-viewers"], approver: ["wl-approvers"] },
  };
  writeFileSync(installed.configPath, stringify({ ...file, people }));
  broker = await startServer(readConfig(), { log });
});

afterAll(async () => {
  await broker?.close();
  await issuer?.close();
  installed?.remove();
  rmSync(homes, { recursive: true, force: true });
});

function readConfig() {
  const loaded = loadConfig({ path: installed.configPath, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  return loaded.config;
}

/** A person's own machine: a home, and a terminal that somebody reads. */
function machine(name: string, read: (text: string) => void = () => undefined) {
  let [out, err] = ["", ""];
  const io = {
    env: { HOME: join(homes, name), PATH: process.env.PATH },
    cwd: homes,
    stdout: {
      write: (text: string) => {
        out += text;
        read(text);
      },
    },
    stderr: { write: (text: string) => (err += text) },
    now: Date.now,
    // The person types the code in no time.
    pause: async () => approved,
  };
  let approved: Promise<void> | undefined;
  return {
    async run(...argv: string[]) {
      [out, err] = ["", ""];
      const status = await runCli(argv, io);
      return { status, out, err };
    },
    typing: (work: Promise<void>) => {
      approved = work;
    },
  };
}

/** `wayleave login`, and what the person does with the code. */
async function signIn(account: string, home = account, act: "approve" | "deny" = "approve") {
  const person = machine(home, (text) => {
    const { user_code: code } = JSON.parse(text) as { user_code?: string };
    if (code !== undefined) person.typing(act === "approve" ? issuer.approve(code, account) : issuer.deny(code));
  });
  return person.run("login", installed.url, "--json");
}

const as = (home: string, ...argv: string[]) => machine(home).run(...argv, "--broker", installed.url);

async function last(kind: RecordKind): Promise<AuditRecord> {
  const [record] = await operatorRecords({ broker }, `kind=${kind}&limit=1`);
  if (record === undefined) throw new Error(`no record ${kind}`);
  return record;
}

/** What the CLI keeps of a sign-in. */
function kept(home: string): { readonly token: string; readonly key: ProofKey } {
  const path = join(homes, home, ".config", "wayleave", "sign-ins.json");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const { sign_ins: all } = JSON.parse(readFileSync(path, "utf8")) as {
    sign_ins: readonly { token: string; key: ProofKey["jwk"] }[];
  };
  const [found] = all;
  if (found === undefined) throw new Error("nobody is signed in");
  return { token: found.token, key: importProofKey(found.key) };
}

/** One request as a person, with whatever headers. */
async function ask(path: string, headers: Record<string, string>, method: "GET" | "POST" = "GET") {
  const response = await fetch(`${installed.url}${path}`, { method, headers });
  const text = await response.text();
  return { status: response.status, code: text === "" ? undefined : (JSON.parse(text) as { code?: string }).code };
}

/** Presents an ID token as the CLI does. */
async function present(token: string, body: object = { id_token: token }, key = createProofKey()) {
  const at = `${installed.url}/operator/v1/sign-in`;
  const response = await fetch(at, {
    method: "POST",
    headers: { "content-type": "application/json", dpop: key.proof("POST", at, Date.now(), token) },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as { code?: string; detail?: string } };
}

/** What an honest directory would sign for an operator now. */
function claims(more: Readonly<Record<string, unknown>> = {}) {
  const now = Math.floor(Date.now() / 1000);
  return {
    iss: issuer.url,
    sub: "olga",
    aud: issuer.clientId,
    iat: now,
    exp: now + 300,
    groups: ["wl-operators"],
    ...more,
  };
}

const bootstrapFile = () => join(installed.dataDir, "bootstrap.token");

let bootstrapToken = "";

test("nobody yet: the bootstrap token makes an operator, with a key of its own", async () => {
  expect(statSync(bootstrapFile()).mode & 0o777).toBe(0o600);
  bootstrapToken = readFileSync(bootstrapFile(), "utf8").trim();
  const wrong = await present("wlb_wrong", { bootstrap_token: "wlb_wrong" });
  expect([wrong.status, wrong.body.code]).toEqual([403, "bootstrap_refused"]);
  const first = machine("first");
  const { status } = await first.run("login", installed.url, "--bootstrap-token-file", bootstrapFile());
  expect(status).toBe(0);
  expect((await as("first", "whoami")).out).toContain("the bootstrap token");
  expect((await last("operator.signed_in")).data).toMatchObject({ who: { by: "bootstrap" }, roles: ["operator"] });
});

test.each([
  { account: "nobody", code: "role_missing", says: /None of this person's 1 groups has a role \(sub "nobody"\)/ },
  { account: "bare", code: "groups_incomplete", says: /no claim "groups"/ },
  { account: "many", code: "groups_incomplete", says: /too many groups/ },
])("a person of the directory without a role is refused and recorded: $account", async ({ account, code, says }) => {
  const { status, out } = await signIn(account);
  const problem = JSON.parse(out.trim().split("\n").at(-1) ?? "") as { code: string; detail: string };
  expect([status, problem.code]).toEqual([3, code]);
  expect(problem.detail).toMatch(says);
  expect((await last("operator.refused")).data).toMatchObject({ code, action: "login", who: { sub: account } });
  expect(existsSync(join(homes, account, ".config"))).toBe(false);
});

test("a person who says no is not signed in", async () => {
  const { status, out } = await signIn("vito", "vito", "deny");
  expect(status).toBe(3);
  expect(out).toContain("refused there, by the person");
});

test.each([
  { what: "another audience", more: { aud: "other-app" }, says: /it is for "other-app"/ },
  { what: "a second audience", more: { aud: ["wayleave-cli", "other-app"] }, says: /2 audiences/ },
  { what: "the audience of jobs", more: () => ({ aud: installed.url }), says: /not for the client/ },
  { what: "another issuer", more: { iss: "https://evil.example" }, says: /its issuer is "https:\/\/evil.example"/ },
  { what: "an issuer with a slash more", more: () => ({ iss: `${issuer.url}/` }), says: /its issuer is/ },
  { what: "its time over", more: { iat: 1_700_000_000, exp: 1_700_000_300 }, says: /expired 2023/ },
  { what: "an hour of age", more: () => ({ iat: claims().iat - 3600 }), says: /more than 10 minutes ago/ },
  { what: "a nonce nobody sent", more: { nonce: "n-0S6" }, says: /another sign-in asked for it/ },
  {
    what: "a job's claims, for our client",
    more: { job_id: "7712", sub: "project_path:acme/shop" },
    says: /never a person/,
  },
  { what: "no subject", more: { sub: undefined }, says: /no usable "sub"/ },
  { what: "groups as one text", more: { groups: "wl-operators" }, says: /no list of texts/, code: "groups_incomplete" },
])("an ID token with $what signs nobody in", async ({ more, says, code = "id_token_refused" }) => {
  const token = await issuer.sign(claims(typeof more === "function" ? more() : more));
  const { status, body } = await present(token);
  expect([status, body.code]).toEqual([403, code]);
  expect(body.detail).toMatch(says);
  const { data } = await last("operator.refused");
  expect(data).toMatchObject({ code, action: "login", from: "127.0.0.1" });
  expect(JSON.stringify(data)).not.toContain(token.slice(0, 30));
});

test("an ID token is refused without a proof, with a proof for another token, and as an access token", async () => {
  const token = await issuer.sign(claims());
  const at = `${installed.url}/operator/v1/sign-in`;
  const post = async (headers: Record<string, string>, body: object = { id_token: token }) => {
    const answer = await fetch(at, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    return ((await answer.json()) as { code: string }).code;
  };
  const key = createProofKey();
  expect(await post({})).toBe("proof_invalid");
  expect(await post({ dpop: key.proof("POST", at, Date.now(), "another") })).toBe("proof_invalid");
  const typed = await issuer.sign(claims(), "at+jwt");
  expect((await present(typed)).body.code).toBe("id_token_refused");
  expect(await post({}, { id_token: token, bootstrap_token: bootstrapToken })).toBe("invalid_request");
});

test("the bootstrap token is still good: nobody has signed in", async () => {
  expect((await present(bootstrapToken, { bootstrap_token: bootstrapToken })).status).toBe(200);
});

test("the first person who signs in ends the bootstrap token, and what it opened", async () => {
  const { status, out } = await signIn("olga");
  expect(status).toBe(0);
  expect(out).not.toContain(kept("olga").token);
  const me = JSON.parse((await as("olga", "whoami", "--json")).out) as { who: object; may: readonly string[] };
  expect(me.who).toEqual({ by: "person", iss: issuer.url, sub: "olga", name: "olga@acme.example" });
  expect(me.may).toContain("key revoke");
  expect(existsSync(bootstrapFile())).toBe(false);
  expect((await present(bootstrapToken, { bootstrap_token: bootstrapToken })).body.code).toBe("bootstrap_refused");
  expect(await as("first", "whoami")).toMatchObject({ status: 3 });
  expect((await last("operator.bootstrap_ended")).data).toEqual({ reason: "person_signed_in" });
});

test.each([
  { account: "olga", may: ["session list", "audit list", "key list", "people list"], mayNot: [] },
  { account: "ada", may: ["session list", "audit list", "people list"], mayNot: ["key prepare assertion"] },
  {
    account: "vito",
    may: ["session list", "key list"],
    mayNot: ["audit list", "people list", "key prepare assertion"],
  },
  { account: "april", may: ["session list"], mayNot: ["audit list", "people list", "key prepare assertion"] },
])("$account may do what the role says, and nothing else", async ({ account, may, mayNot }) => {
  if (account !== "olga") expect((await signIn(account)).status).toBe(0);
  for (const command of may) {
    expect(await as(account, ...command.split(" "))).toMatchObject({ status: 0 });
    const action = command;
    expect((await last("operator.action")).data).toMatchObject({ action, outcome: "done", who: { sub: account } });
  }
  for (const command of mayNot) {
    const { status, err } = await as(account, ...command.split(" "));
    expect([status, err]).toEqual([3, expect.stringContaining("role_missing")]);
    const { data } = await last("operator.action");
    expect(data).toMatchObject({ outcome: "refused", code: "role_missing", who: { sub: account, iss: issuer.url } });
  }
});

test("what an operator changes is recorded before the answer, with who, and by the socket as local", async () => {
  expect((await as("olga", "key", "prepare", "assertion")).status).toBe(0);
  expect((await last("operator.action")).data).toMatchObject({
    who: { by: "person", sub: "olga" },
    action: "key prepare",
    request: "POST /operator/v1/keys/assertion/prepare",
    role: "operator",
    outcome: "done",
    from: "127.0.0.1",
  });
  expect((await as("olga", "key", "activate", "nonsense")).status).toBe(2);
  expect((await last("operator.action")).data).toMatchObject({ outcome: "refused", code: "invalid_request" });
  const local = machine("olga");
  expect((await local.run("key", "retire", "assertion", "none", "--config", installed.configPath)).status).not.toBe(0);
  expect((await last("operator.action")).data).toMatchObject({ who: { by: "local" }, outcome: "refused" });
});

test("a stolen token without its key, with a replayed proof, or as Bearer is refused and recorded", async () => {
  const { token, key } = kept("olga");
  const path = "/operator/v1/sessions";
  const url = installed.url + path;
  const authorization = `DPoP ${token}`;
  const good = { authorization, dpop: key.proof("GET", url, Date.now(), token) };
  expect((await ask(path, good)).status).toBe(200);
  const thief = createProofKey();
  const cases: readonly (readonly [Record<string, string>, string])[] = [
    [good, "proof_invalid"],
    [{ authorization }, "sign_in_required"],
    [{ authorization: `Bearer ${token}`, dpop: key.proof("GET", url, Date.now(), token) }, "sign_in_required"],
    [{ authorization, dpop: thief.proof("GET", url, Date.now(), token) }, "sign_in_required"],
    [{ authorization, dpop: key.proof("GET", url, Date.now()) }, "proof_invalid"],
    [{ authorization, dpop: key.proof("POST", url, Date.now(), token) }, "proof_invalid"],
    [{ authorization, dpop: key.proof("GET", `${url}/x`, Date.now(), token) }, "proof_invalid"],
    [{ authorization, dpop: key.proof("GET", url, Date.now() - 300_000, token) }, "proof_invalid"],
  ];
  for (const [headers, code] of cases) {
    expect(await ask(path, headers)).toEqual({ status: code === "proof_invalid" ? 400 : 401, code });
    expect((await last("operator.refused")).data).toMatchObject({ code, action: "session list" });
  }
  expect((await last("operator.refused")).data).toMatchObject({ who: { sub: "olga" } });
});

test("a job's token is no person, and a person's is no job", async () => {
  const job = {
    sub: "project_path:acme/shop:ref_type:branch:ref:main",
    aud: installed.url,
    job_id: "1",
    project_id: "2",
  };
  const jobToken = await issuer.sign(claims(job));
  expect((await present(jobToken)).body.code).toBe("id_token_refused");
  const exchange = async (token: string) => {
    const response = await fetch(`${installed.url}/oauth2/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: token,
        subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
      }),
    });
    return ((await response.json()) as { code: string }).code;
  };
  expect(await exchange(await issuer.sign(claims()))).toBe("audience_refused");
  expect((await last("exchange.refused")).data).toMatchObject({ code: "audience_refused" });
  expect(await exchange(kept("olga").token)).toBe("subject_token_invalid");
  const authorization = `DPoP ${jobToken}`;
  expect((await ask("/operator/v1/status", { authorization })).code).toBe("sign_in_required");
});

test("an ID token signs in once, also after a restart; sign-ins and the end of the bootstrap outlive one", async () => {
  const token = await issuer.sign(claims({ sub: "olga" }));
  expect((await present(token)).status).toBe(200);
  expect((await present(token)).body.detail).toMatch(/signed somebody in before/);
  await broker.close();
  broker = await startServer(readConfig(), { log });
  expect((await present(token)).body.detail).toMatch(/signed somebody in before/);
  expect((await as("olga", "whoami")).status).toBe(0);
  expect(existsSync(bootstrapFile())).toBe(false);
  expect((await present(bootstrapToken, { bootstrap_token: bootstrapToken })).body.code).toBe("bootstrap_refused");
});

test("the audit log says in lines who did what", async () => {
  const lines = (await as("ada", "audit", "list", "--kind", "operator.action")).out;
  expect(lines).toMatch(/operator\.action +key prepare {2}done +olga@acme\.example/);
  expect(lines).toMatch(/operator\.action +audit list {2}role_missing +Vito/);
  const refused = (await as("ada", "audit", "list", "--kind", "operator.refused")).out;
  expect(refused).toMatch(/operator\.refused +login {2}role_missing +nobody/);
});

test("a sign-in ends by logout, by an operator, and by another configuration of roles", async () => {
  expect((await machine("april").run("logout", installed.url)).out).toBe(`signed out of ${installed.url}\n`);
  expect((await last("operator.signed_out")).data).toMatchObject({ who: { sub: "april" } });
  expect((await as("april", "whoami")).err).toContain("Nobody is signed in to");
  const listed = JSON.parse((await as("olga", "people", "list", "--json")).out) as {
    sign_ins: readonly { sign_in: string; who: { sub?: string } }[];
  };
  const vito = listed.sign_ins.find(({ who }) => who.sub === "vito")?.sign_in ?? "";
  expect((await as("vito", "people", "end", vito)).status).toBe(3);
  expect((await as("olga", "people", "end", vito)).out).toBe(`${vito} is over\n`);
  expect((await as("vito", "whoami")).err).toContain("sign_in_required");
  await broker.close();
  const file = readFileSync(installed.configPath, "utf8");
  writeFileSync(installed.configPath, file.replace("wl-operators", "wl-admins"));
  broker = await startServer(readConfig(), { log });
  expect((await as("olga", "whoami")).err).toContain("has changed since");
  expect((await signIn("olga")).status).toBe(3);
});

test("nothing that could sign anybody in lies in the data folder", () => {
  const files = readdirSync(installed.dataDir, { recursive: true, withFileTypes: true }).filter((file) =>
    file.isFile(),
  );
  expect(files.length).toBeGreaterThan(3);
  const secrets = [bootstrapToken, kept("olga").token, kept("ada").token, "eyJhbGciOiJSUzI1NiIsImtpZCI6InBlb3BsZS0x"];
  for (const { parentPath, name } of files) {
    const text = readFileSync(join(parentPath, name), "latin1");
    expect([name, secrets.filter((secret) => text.includes(secret))]).toEqual([name, []]);
  }
});
