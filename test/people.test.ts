import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { branchJob } from "../src/ci/gitlab/claims.fake.ts";
import { createProofKey } from "../src/cli/job/proof-key.ts";
import { type PeopleWorld, startPeopleWorld } from "./people-world.ts";

let world: PeopleWorld;

beforeAll(async () => {
  world = await startPeopleWorld({
    olga: { email: "olga@acme.example", groups: ["staff", "wl-operators"] },
    ada: { email: "ada@acme.example", groups: ["wl-auditors"] },
    vito: { name: "Vito", groups: ["wl-viewers"] },
    april: { groups: ["wl-approvers"] },
    nobody: { groups: ["staff"] },
    bare: {},
    many: { _claim_names: { groups: "src1" }, _claim_sources: { src1: { endpoint: "https://graph.example" } } },
  });
});

afterAll(async () => {
  await world?.close();
});

/** One request, with whatever headers. */
async function ask(path: string, headers: Record<string, string>) {
  const response = await fetch(world.url + path, { headers });
  return { status: response.status, code: ((await response.json()) as { code?: string }).code };
}

let bootstrapToken = "";

test("nobody yet: the bootstrap token makes an operator, with a key of its own", async () => {
  expect(statSync(world.bootstrapFile).mode & 0o777).toBe(0o600);
  bootstrapToken = readFileSync(world.bootstrapFile, "utf8").trim();
  const wrong = await world.present("wlb_wrong", { bootstrap_token: "wlb_wrong" });
  expect([wrong.status, wrong.body.code]).toEqual([403, "bootstrap_refused"]);
  const { status } = await world.at("first", "login", world.url, "--bootstrap-token-file", world.bootstrapFile);
  expect(status).toBe(0);
  expect((await world.as("first", "whoami")).out).toContain("the bootstrap token");
  expect((await world.last("operator.signed_in")).data).toMatchObject({
    who: { by: "bootstrap" },
    roles: ["operator"],
  });
});

test("there is one bootstrap token, whatever starts again", async () => {
  await world.restart();
  expect(readFileSync(world.bootstrapFile, "utf8").trim()).toBe(bootstrapToken);
  expect(await world.records("kind=operator.bootstrap_made")).toHaveLength(1);
  expect((await world.as("first", "whoami")).status).toBe(0);
});

test.each([
  { account: "nobody", code: "role_missing", says: /None of this person's 1 groups has a role \(sub "nobody"\)/ },
  { account: "bare", code: "groups_incomplete", says: /no claim "groups"/ },
  { account: "many", code: "groups_incomplete", says: /too many groups/ },
])("a person of the directory without a role is refused and recorded: $account", async ({ account, code, says }) => {
  const { status, out } = await world.signIn(account);
  const problem = JSON.parse(out.trim().split("\n").at(-1) ?? "") as { code: string; detail: string };
  expect([status, problem.code]).toEqual([3, code]);
  expect(problem.detail).toMatch(says);
  expect((await world.last("operator.refused")).data).toMatchObject({ code, action: "login", who: { sub: account } });
  expect(existsSync(join(world.homes, account, ".config"))).toBe(false);
});

test("a person who says no is not signed in", async () => {
  const { status, out } = await world.signIn("vito", "deny");
  expect(status).toBe(3);
  expect(out).toContain("refused there, by the person");
});

test.each([
  { what: "another audience", more: { aud: "other-app" }, says: /it is for "other-app"/ },
  { what: "a second audience", more: { aud: ["wayleave-cli", "other-app"] }, says: /2 audiences/ },
  { what: "the audience of jobs", more: () => ({ aud: world.url }), says: /not for the client/ },
  { what: "another issuer", more: { iss: "https://evil.example" }, says: /its issuer is "https:\/\/evil.example"/ },
  { what: "an issuer with a slash more", more: () => ({ iss: `${world.issuer.url}/` }), says: /its issuer is/ },
  { what: "its time over", more: { iat: 1_700_000_000, exp: 1_700_000_300 }, says: /expired 2023/ },
  { what: "an hour of age", more: () => ({ iat: world.claims().iat - 3600 }), says: /more than 10 minutes ago/ },
  { what: "a nonce nobody sent", more: { nonce: "n-0S6" }, says: /another sign-in asked for it/ },
  {
    what: "a job's claims, for our client",
    more: { job_id: "7712", sub: "project_path:acme/shop" },
    says: /never a person/,
  },
  { what: "no subject", more: { sub: undefined }, says: /no usable "sub"/ },
  { what: "groups as one text", more: { groups: "wl-operators" }, says: /no list of texts/, code: "groups_incomplete" },
])("an ID token with $what signs nobody in", async ({ more, says, code = "id_token_refused" }) => {
  const token = await world.issuer.sign(world.claims(typeof more === "function" ? more() : more));
  const { status, body } = await world.present(token);
  expect([status, body.code]).toEqual([403, code]);
  expect(body.detail).toMatch(says);
  const { data } = await world.last("operator.refused");
  expect(data).toMatchObject({ code, action: "login", from: "127.0.0.1" });
  expect(JSON.stringify(data)).not.toContain(token.slice(0, 30));
});

test("an ID token is refused without a proof, with a proof for another token, and as an access token", async () => {
  const token = await world.issuer.sign(world.claims());
  const at = `${world.url}/operator/v1/sign-in`;
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
  expect(await post({ dpop: key.proof({ method: "POST", url: at, nowMs: Date.now(), token: "another" }) })).toBe(
    "proof_invalid",
  );
  const typed = await world.issuer.sign(world.claims(), "at+jwt");
  expect((await world.present(typed)).body.code).toBe("id_token_refused");
  expect(await post({}, { id_token: token, bootstrap_token: bootstrapToken })).toBe("invalid_request");
});

test("the bootstrap token is still good: nobody has signed in", async () => {
  expect((await world.present(bootstrapToken, { bootstrap_token: bootstrapToken })).status).toBe(200);
});

test("the first person who signs in ends the bootstrap token, and what it opened", async () => {
  const { status, out } = await world.signIn("olga");
  expect(status).toBe(0);
  expect(out).not.toContain(world.kept("olga").token);
  expect(world.kept("olga").mode).toBe(0o600);
  const me = JSON.parse((await world.as("olga", "whoami", "--json")).out) as { who: object; may: readonly string[] };
  expect(me.who).toEqual({ by: "person", iss: world.issuer.url, sub: "olga", name: "olga@acme.example" });
  expect(me.may).toContain("key revoke");
  expect(existsSync(world.bootstrapFile)).toBe(false);
  expect((await world.present(bootstrapToken, { bootstrap_token: bootstrapToken })).body.code).toBe(
    "bootstrap_refused",
  );
  expect(await world.as("first", "whoami")).toMatchObject({ status: 3 });
  expect((await world.last("operator.bootstrap_ended")).data).toEqual({ reason: "person_signed_in" });
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
  if (account !== "olga") expect((await world.signIn(account)).status).toBe(0);
  for (const command of may) {
    expect(await world.as(account, ...command.split(" "))).toMatchObject({ status: 0 });
    const action = command;
    expect((await world.last("operator.action")).data).toMatchObject({
      action,
      outcome: "done",
      who: { sub: account },
    });
  }
  for (const command of mayNot) {
    const { status, err } = await world.as(account, ...command.split(" "));
    expect([status, err]).toEqual([3, expect.stringContaining("role_missing")]);
    const { data } = await world.last("operator.action");
    expect(data).toMatchObject({
      outcome: "refused",
      code: "role_missing",
      who: { sub: account, iss: world.issuer.url },
    });
  }
});

test("what an operator changes is recorded before the answer, with who, and by the socket as local", async () => {
  expect((await world.as("olga", "key", "prepare", "assertion")).status).toBe(0);
  expect((await world.last("operator.action")).data).toMatchObject({
    who: { by: "person", sub: "olga" },
    action: "key prepare",
    request: "POST /operator/v1/keys/assertion/prepare",
    role: "operator",
    outcome: "done",
    from: "127.0.0.1",
  });
  expect((await world.as("olga", "key", "activate", "nonsense")).status).toBe(2);
  expect((await world.last("operator.action")).data).toMatchObject({ outcome: "refused", code: "invalid_request" });
  expect((await world.at("olga", "key", "retire", "assertion", "none", "--config", world.configPath)).status).not.toBe(
    0,
  );
  expect((await world.last("operator.action")).data).toMatchObject({ who: { by: "local" }, outcome: "refused" });
});

test("a stolen token without its key, with a replayed proof, or as Bearer is refused and recorded", async () => {
  const { token, key } = world.kept("olga");
  const path = "/operator/v1/sessions";
  const url = world.url + path;
  const authorization = `DPoP ${token}`;
  const good = { authorization, dpop: key.proof({ method: "GET", url: url, nowMs: Date.now(), token }) };
  expect((await ask(path, good)).status).toBe(200);
  const thief = createProofKey();
  const cases: readonly (readonly [Record<string, string>, string])[] = [
    [good, "proof_replayed"],
    [{ authorization }, "sign_in_required"],
    [
      { authorization: `Bearer ${token}`, dpop: key.proof({ method: "GET", url: url, nowMs: Date.now(), token }) },
      "sign_in_required",
    ],
    [{ authorization, dpop: thief.proof({ method: "GET", url: url, nowMs: Date.now(), token }) }, "sign_in_required"],
    [{ authorization, dpop: key.proof({ method: "GET", url: url, nowMs: Date.now() }) }, "proof_invalid"],
    [{ authorization, dpop: key.proof({ method: "POST", url: url, nowMs: Date.now(), token }) }, "proof_invalid"],
    [{ authorization, dpop: key.proof({ method: "GET", url: `${url}/x`, nowMs: Date.now(), token }) }, "proof_invalid"],
    [
      { authorization, dpop: key.proof({ method: "GET", url: url, nowMs: Date.now() - 300_000, token }) },
      "proof_invalid",
    ],
  ];
  for (const [headers, code] of cases) {
    expect(await ask(path, headers)).toEqual({ status: code.startsWith("proof_") ? 400 : 401, code });
    expect((await world.last("operator.refused")).data).toMatchObject({ code, action: "session list" });
  }
  expect((await world.last("operator.refused")).data).toMatchObject({ who: { sub: "olga" } });
});

test("a person who ends a job's session is in its record", async () => {
  const now = Math.floor(Date.now() / 1000);
  const times = { iat: now, nbf: now, exp: now + 300 };
  const job = { ...branchJob, ...times, iss: world.issuer.url };
  const person = await world.present(await world.issuer.sign({ ...job, aud: world.issuer.clientId, sub: "5" }));
  expect(person.body).toMatchObject({ code: "id_token_refused", detail: expect.stringMatching(/never a person/) });
  const opened = await world.exchange(await world.issuer.sign({ ...job, aud: world.url }));
  expect(opened.session_id).toMatch(/^ses_/);
  expect((await world.as("vito", "session", "end", opened.session_id ?? "")).status).toBe(3);
  expect((await world.as("olga", "session", "end", opened.session_id ?? "", "--because", "a test")).status).toBe(0);
  const by = `olga@acme.example (olga of ${world.issuer.url})`;
  expect((await world.last("session.ended")).data).toEqual({ reason: "operator", by, detail: "a test" });
});

test("a job's token is no person, and a person's is no job", async () => {
  const job = {
    sub: "project_path:acme/shop:ref_type:branch:ref:main",
    aud: world.url,
    job_id: "1",
    project_id: "2",
  };
  const jobToken = await world.issuer.sign(world.claims(job));
  expect((await world.present(jobToken)).body.code).toBe("id_token_refused");
  expect((await world.exchange(await world.issuer.sign(world.claims()))).code).toBe("audience_refused");
  expect((await world.last("exchange.refused")).data).toMatchObject({ code: "audience_refused" });
  expect((await world.exchange(world.kept("olga").token)).code).toBe("subject_token_invalid");
  const authorization = `DPoP ${jobToken}`;
  expect((await ask("/operator/v1/status", { authorization })).code).toBe("sign_in_required");
});

test("an ID token signs in once, also after a restart; sign-ins and the end of the bootstrap outlive one", async () => {
  const token = await world.issuer.sign(world.claims({ sub: "olga" }));
  expect((await world.present(token)).status).toBe(200);
  expect((await world.present(token)).body.detail).toMatch(/signed somebody in before/);
  await world.restart();
  expect((await world.present(token)).body.detail).toMatch(/signed somebody in before/);
  expect((await world.as("olga", "whoami")).status).toBe(0);
  expect(existsSync(world.bootstrapFile)).toBe(false);
  expect((await world.present(bootstrapToken, { bootstrap_token: bootstrapToken })).body.code).toBe(
    "bootstrap_refused",
  );
});

test("the audit log says in lines who did what", async () => {
  const lines = (await world.as("ada", "audit", "list", "--kind", "operator.action")).out;
  expect(lines).toMatch(/operator\.action +key prepare {2}done +olga@acme\.example/);
  expect(lines).toMatch(/operator\.action +audit list {2}role_missing +Vito/);
  const refused = (await world.as("ada", "audit", "list", "--kind", "operator.refused")).out;
  expect(refused).toMatch(/operator\.refused +login {2}role_missing +nobody/);
});

test("a sign-in ends by logout, by an operator, and by another configuration of roles", async () => {
  expect((await world.at("april", "logout", world.url)).out).toBe(`signed out of ${world.url}\n`);
  expect((await world.last("operator.signed_out")).data).toMatchObject({ who: { sub: "april" } });
  expect((await world.as("april", "whoami")).err).toContain("Nobody is signed in to");
  const listed = JSON.parse((await world.as("olga", "people", "list", "--json")).out) as {
    sign_ins: readonly { sign_in: string; who: { sub?: string } }[];
  };
  const vito = listed.sign_ins.find(({ who }) => who.sub === "vito")?.sign_in ?? "";
  expect((await world.as("vito", "people", "end", vito)).status).toBe(3);
  expect((await world.as("olga", "people", "end", vito)).out).toBe(`${vito} is over\n`);
  expect((await world.as("vito", "whoami")).err).toContain("sign_in_required");
  const file = readFileSync(world.configPath, "utf8");
  writeFileSync(world.configPath, file.replace("wl-operators", "wl-admins"));
  await world.restart();
  expect((await world.as("olga", "whoami")).err).toContain("has changed since");
  expect((await world.signIn("olga")).status).toBe(3);
});

test("nothing that could sign anybody in lies in the data folder", () => {
  const files = readdirSync(world.dataDir, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  expect(files.length).toBeGreaterThan(3);
  const secrets = [
    bootstrapToken,
    world.kept("olga").token,
    world.kept("ada").token,
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InBlb3BsZS0x",
  ];
  for (const { parentPath, name } of files) {
    const text = readFileSync(join(parentPath, name), "latin1");
    expect([name, secrets.filter((secret) => text.includes(secret))]).toEqual([name, []]);
  }
});
