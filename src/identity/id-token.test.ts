import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { beforeAll, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { PeopleType } from "../core/person.ts";
import { type IdTokenOptions, verifyIdToken } from "./id-token.ts";
import { createKeySource } from "./jwks.ts";

const now = 1_800_000_000;
const issuer = "https://id.example";
let keys: Awaited<ReturnType<typeof generateKeyPair>>;
let others: Awaited<ReturnType<typeof generateKeyPair>>;
let jwks: object;

beforeAll(async () => {
  keys = await generateKeyPair("RS256");
  others = await generateKeyPair("RS256");
  // As Entra ID publishes them: without `alg`.
  jwks = { keys: [{ ...(await exportJWK(keys.publicKey)), kid: "k1" }] };
});

function options(type: PeopleType, more: Partial<IdTokenOptions> = {}): IdTokenOptions {
  const clock = { now: () => now * 1000, monotonic: () => 0 };
  const source = createKeySource({ issuerUrl: issuer, fetch, clock, jwks });
  return { type, issuer, clientId: "cli", keys: source, clock, ...more };
}

const person = { iss: issuer, sub: "00u1", aud: "cli", iat: now, exp: now + 300 };

function sign(claims: object, header: object = {}, key = keys.privateKey): Promise<string> {
  return new SignJWT({ ...claims }).setProtectedHeader({ alg: "RS256", kid: "k1", typ: "JWT", ...header }).sign(key);
}

async function refusal(token: string, of = options("oidc"), nonce?: string): Promise<string> {
  const error: unknown = await verifyIdToken(of, token, nonce).then(
    ({ sub }) => `let in: ${sub}`,
    (cause: unknown) => cause,
  );
  if (!(error instanceof WayleaveError)) return String(error);
  expect(error.code).toBe("id_token_refused");
  return error.message;
}

test("a person's fresh token is read, whole", async () => {
  const token = await sign({ ...person, aud: ["cli"], azp: "cli", groups: ["a"] });
  const found = await verifyIdToken(options("oidc"), token);
  expect(found).toMatchObject({ iss: issuer, sub: "00u1", claims: { groups: ["a"] }, uselessAt: (now + 360) * 1000 });
  expect(found.replayKey).toMatch(/^[0-9a-f]{64}$/);
});

test.each([
  { what: "no token", token: () => "", says: /no signed JWT/ },
  { what: "words", token: () => "a b c", says: /no signed JWT/ },
  {
    what: "two parts",
    token: async () => (await sign(person)).split(".").slice(0, 2).join("."),
    says: /no signed JWT/,
  },
  { what: "a huge one", token: () => "x".repeat(40_000), says: /longer than/ },
  { what: "another key", token: () => sign(person, {}, others.privateKey), says: /its signature is not by key "k1"/ },
  { what: "an unknown kid", token: () => sign(person, { kid: "k2" }), says: /publishes no key "k2"/ },
  { what: "no kid", token: () => sign(person, { kid: undefined }), says: /no usable "kid"/ },
  { what: "another typ", token: () => sign(person, { typ: "at+jwt" }), says: /its typ is "at\+jwt"/ },
  { what: "a logout token", token: () => sign(person, { typ: "logout+jwt" }), says: /its typ is/ },
  { what: "an unsigned one", token: () => unsigned("none"), says: /its algorithm is "none"/ },
  { what: "a shared secret's", token: () => unsigned("HS256"), says: /its algorithm is "HS256"/ },
])("refused for what it is: $what", async ({ token, says }) => {
  expect(await refusal(await token())).toMatch(says);
});

function unsigned(alg: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg, kid: "k1" })}.${part(person)}.${alg === "none" ? "" : "c2ln"}`;
}

test.each([
  { what: "no issuer", more: { iss: undefined }, says: /its issuer is/ },
  { what: "a slash more", more: { iss: `${issuer}/` }, says: /its issuer is/ },
  { what: "an issuer that begins so", more: { iss: `${issuer}.evil.example` }, says: /its issuer is/ },
  { what: "no audience", more: { aud: undefined }, says: /not for the client/ },
  { what: "no audience in a list", more: { aud: [] }, says: /0 audiences/ },
  { what: "two audiences", more: { aud: ["cli", "x"] }, says: /2 audiences/ },
  { what: "an audience that begins so", more: { aud: "cli2" }, says: /"cli2"/ },
  { what: "another party", more: { azp: "x" }, says: /azp is "x"/ },
  { what: "no subject", more: { sub: undefined }, says: /no usable "sub"/ },
  { what: "an empty subject", more: { sub: "" }, says: /no usable "sub"/ },
  { what: "a number as subject", more: { sub: 7 }, says: /no usable "sub"/ },
  { what: "a long subject", more: { sub: "x".repeat(300) }, says: /no usable "sub"/ },
  { what: "no end", more: { exp: undefined }, says: /"exp" is no whole number/ },
  { what: "no beginning", more: { iat: undefined }, says: /"iat" is no whole number/ },
  { what: "an end as text", more: { exp: String(now + 300) }, says: /"exp" is no whole number/ },
  { what: "an end in the year 9999999", more: { exp: 1e15 }, says: /"exp" is no whole number/ },
  { what: "its time over", more: { iat: now - 400, exp: now - 60 }, says: /it expired/ },
  { what: "eleven minutes of age", more: { iat: now - 661, exp: now + 3600 }, says: /more than 10 minutes ago/ },
  { what: "tomorrow's date", more: { iat: now + 86_400, exp: now + 86_700 }, says: /valid only from/ },
  { what: "a later nbf", more: { nbf: now + 120 }, says: /valid only from/ },
  { what: "a nonce", more: { nonce: "n" }, says: /another sign-in asked for it/ },
  { what: "a jti that is none", more: { jti: 7 }, says: /"jti" is no string/ },
  { what: "scopes", more: { scp: ["read"] }, says: /it is an access token/ },
  { what: "a GitLab job", more: { job_id: "7" }, says: /it names a job \(job_id\)/ },
  { what: "a GitHub run", more: { run_id: "7" }, says: /it names a job/ },
  { what: "a Buildkite build", more: { build_number: 7 }, says: /it names a job/ },
])("refused for what it says: $what", async ({ more, says }) => {
  expect(await refusal(await sign({ ...person, ...more }))).toMatch(says);
});

test.each([
  { what: "60 s late", more: { iat: now - 359, exp: now - 59 } },
  { what: "60 s early", more: { iat: now + 60, exp: now + 360 } },
])("clocks may differ: $what", async ({ more }) => {
  expect(await refusal(await sign({ ...person, ...more }))).toBe("let in: 00u1");
});

test("a nonce that was sent must come back", async () => {
  expect(await refusal(await sign({ ...person, nonce: "n" }), options("oidc"), "n")).toBe("let in: 00u1");
  expect(await refusal(await sign({ ...person, nonce: "m" }), options("oidc"), "n")).toMatch(/not the one sent/);
  expect(await refusal(await sign(person), options("oidc"), "n")).toMatch(/not the one sent/);
});

test.each<{ type: PeopleType; what: string; more: object; says: RegExp }>([
  { type: "gitlab", what: "a job's subject", more: { sub: "project_path:acme/shop" }, says: /no user id of GitLab/ },
  { type: "gitlab", what: "a user's name", more: { sub: "dana" }, says: /no user id of GitLab/ },
  { type: "entra", what: "an application by idtyp", more: { idtyp: "app" }, says: /an application's token/ },
  { type: "entra", what: "an application by oid", more: { oid: "00u1" }, says: /an application's token/ },
  { type: "google", what: "no domain", more: {}, says: /of no domain/ },
  { type: "google", what: "another domain", more: { hd: "evil.example" }, says: /domain "evil.example"/ },
  { type: "google", what: "a domain below", more: { hd: "x.acme.example" }, says: /only people of acme.example/ },
  { type: "google", what: "an address only", more: { email: "a@acme.example" }, says: /of no domain/ },
  { type: "google", what: "not verified", more: { hd: "acme.example", email_verified: false }, says: /not verified/ },
])("$type: $what is refused", async ({ type, more, says }) => {
  const of = options(type, type === "google" ? { hostedDomain: "acme.example" } : {});
  expect(await refusal(await sign({ ...person, ...more }), of)).toMatch(says);
});

test.each<{ type: PeopleType; more: object }>([
  { type: "gitlab", more: { sub: "42" } },
  { type: "entra", more: { oid: "0f1e" } },
  { type: "google", more: { hd: "acme.example", email_verified: true } },
])("$type: its people are let in", async ({ type, more }) => {
  const of = options(type, type === "google" ? { hostedDomain: "acme.example" } : {});
  expect(await refusal(await sign({ ...person, ...more }), of)).toMatch(/^let in/);
});

test("the same token has one replay key, another has another; nothing of it is in a message", async () => {
  const [first, second] = [await sign({ ...person, jti: "a" }), await sign({ ...person, jti: "b" })];
  const key = async (token: string) => (await verifyIdToken(options("oidc"), token)).replayKey;
  expect(await key(first)).toBe(await key(first));
  expect(await key(first)).not.toBe(await key(second));
  const told = await refusal(await sign({ ...person, aud: "x" }));
  expect(told).not.toContain(first.slice(0, 20));
});

test("an issuer that cannot be asked is an outage, not a refusal", async () => {
  const down = { keyFor: () => Promise.reject(new WayleaveError("issuer_unreachable", "down")) };
  await expect(verifyIdToken(options("oidc", { keys: down }), await sign(person))).rejects.toMatchObject({
    code: "issuer_unreachable",
  });
});
