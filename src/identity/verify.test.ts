import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import { createKeySource } from "./jwks.ts";
import { hs256, ManualClock, rs256, signingKey, tableFetch } from "./subject-tokens.fake.ts";
import { createVerifier, type SubjectIssuer } from "./verify.ts";

const url = "https://gitlab.example";
const audience = "https://wayleave.example";
const key = signingKey("key-1");
const stranger = signingKey("key-1");
const clock = new ManualClock();
const now = clock.seconds;

const good = {
  iss: url,
  aud: audience,
  iat: now,
  nbf: now - 5,
  exp: now + 3600,
  jti: "jti-1",
  sub: "ignored",
  job: "7",
};
const header = { alg: "RS256", kid: "key-1", typ: "JWT" };

function verifier(change: Partial<SubjectIssuer> = {}) {
  const { fetch, asked } = tableFetch({
    [`${url}/.well-known/openid-configuration`]: { issuer: url, jwks_uri: `${url}/keys` },
    [`${url}/keys`]: { keys: [key.jwk] },
  });
  const issuer: SubjectIssuer = {
    name: "gitlab",
    url,
    audience,
    provider: {
      algorithms: ["RS256"],
      maxTokenLifeSeconds: 86_400,
      identity: (payload) => {
        if (typeof payload.job !== "string") throw new WayleaveError("identity_refused", "No job.");
        return { job: { id: payload.job } } as JobIdentity;
      },
    },
    keys: createKeySource({ issuerUrl: url, fetch, clock }),
    ...change,
  };
  const { verify } = createVerifier({ issuers: [issuer], clock });
  return { verify, asked };
}

const refusal = (token: string, change?: Partial<SubjectIssuer>) =>
  verifier(change)
    .verify(token)
    .then(
      () => ({ code: "accepted", message: "" }),
      (error: WayleaveError) => ({ code: error.code, message: error.message }),
    );

const signed = (change: object, headerChange: object = {}) =>
  rs256(key, { ...good, ...change }, { ...header, ...headerChange });
const part = (value: string | Buffer) => Buffer.from(value as string).toString("base64url");
const [goodHeader = "", goodPayload = "", goodSignature = ""] = signed({}).split(".");

test("a good token yields the identity, its times and a replay key", async () => {
  const subject = await verifier().verify(signed({}));
  expect(subject).toEqual({
    identity: { job: { id: "7" } },
    issuer: "gitlab",
    kid: "key-1",
    // printf 'https://gitlab.example\0jti-1' | sha256sum
    replayKey: "e1f7c1f190681ace5c6be2529249ae2f24fdc547c55bcaff65fa09883f04c95c",
    issuedAt: now * 1000,
    expiresAt: (now + 3600) * 1000,
  });
});

describe("accepted is", () => {
  test.each([
    { what: "an audience list of exactly ours", token: signed({ aud: [audience] }) },
    { what: "a token without typ", token: rs256(key, good, { alg: "RS256", kid: "key-1" }) },
    { what: "a token without nbf", token: signed({ nbf: undefined }) },
    { what: "a token that expired 59 s ago", token: signed({ iat: now - 100, nbf: now - 100, exp: now - 59 }) },
    { what: "a token issued 60 s in the future", token: signed({ iat: now + 60, nbf: now + 55 }) },
    { what: "a token as long as the CI allows", token: signed({ exp: now + 86_400 }) },
  ])("$what", async ({ token }) => {
    expect(await refusal(token)).toEqual({ code: "accepted", message: "" });
  });
});

describe("malformed is", () => {
  test.each([
    { what: "nothing", token: "" },
    { what: "a word", token: "token" },
    { what: "two parts", token: `${goodHeader}.${goodPayload}` },
    { what: "an empty signature", token: `${goodHeader}.${goodPayload}.` },
    { what: "an empty payload", token: `${goodHeader}..${goodSignature}` },
    { what: "four parts", token: `${goodHeader}.${goodPayload}.${goodSignature}.${goodSignature}` },
    { what: "an encrypted token's five parts", token: "a.b.c.d.e" },
    { what: "a space before", token: ` ${signed({})}` },
    { what: "a line break after", token: `${signed({})}\n` },
    { what: "a padded payload", token: `${goodHeader}.${part("{} ")}=.${goodSignature}` },
    { what: "base64 that is not base64url", token: `${goodHeader}.${goodPayload}.ab+/` },
    { what: "trailing bits in the signature", token: `${goodHeader}.${goodPayload}.${"A".repeat(341)}B` },
    { what: "a header that is no JSON", token: rs256(key, good, "{") },
    { what: "a header that is a list", token: rs256(key, good, [header]) },
    { what: "a header that is null", token: rs256(key, good, "null") },
    { what: "a payload that is no JSON", token: rs256(key, "iss=me") },
    { what: "a payload that is a string", token: rs256(key, JSON.stringify(JSON.stringify(good))) },
    { what: "a payload cut short", token: rs256(key, JSON.stringify(good).slice(0, -1)) },
    {
      what: "a payload that is not UTF-8",
      token: `${goodHeader}.${part(Buffer.from([0x7b, 0xff, 0x7d]))}.${goodSignature}`,
    },
    { what: "a payload with an audience twice", token: rs256(key, `{"aud":"x",${JSON.stringify(good).slice(1)}`) },
    {
      what: "a payload with an escaped key twice",
      token: rs256(key, `{"\\u0069ss":"x",${JSON.stringify(good).slice(1)}`),
    },
    { what: "a header with alg twice", token: rs256(key, good, '{"alg":"none","alg":"RS256","kid":"key-1"}') },
    { what: "more than 16 KiB", token: signed({ long: "x".repeat(13_000) }) },
    { what: "no iss", token: signed({ iss: undefined }) },
    { what: "an iss that is a list", token: signed({ iss: [url] }) },
  ])("$what, and nothing is fetched", async ({ token }) => {
    const { verify, asked } = verifier();
    await expect(verify(token)).rejects.toMatchObject({ code: "subject_token_invalid" });
    expect(asked).toEqual([]);
  });
});

describe("an unknown issuer is refused before anything is fetched:", () => {
  test.each([
    { what: "another host", iss: "https://evil.example" },
    { what: "ours with a slash", iss: `${url}/` },
    { what: "ours in capitals", iss: url.toUpperCase() },
    { what: "ours as a prefix", iss: `${url}.evil.example` },
    { what: "ours without scheme", iss: "gitlab.example" },
    { what: "nothing", iss: "" },
    { what: "a name of Object", iss: "__proto__" },
  ])("$what", async ({ iss }) => {
    const { verify, asked } = verifier();
    await expect(verify(signed({ iss }))).rejects.toMatchObject({ code: "issuer_unknown" });
    expect(asked).toEqual([]);
  });

  test("and only a short printable excerpt of it is shown", async () => {
    const { message } = await refusal(signed({ iss: `\u001b]0;\u202e${"x".repeat(5_000)}` }));
    expect(message).toMatch(/^[\x20-\x7e…]{1,250}$/);
  });
});

describe("an algorithm or header is refused before any key is looked up:", () => {
  test.each<{ what: string; token: string }>([
    { what: "alg none", token: `${part('{"alg":"none","kid":"key-1"}')}.${goodPayload}.${goodSignature}` },
    { what: "alg NONE", token: signed({}, { alg: "NONE" }) },
    { what: "HS256 with the public key as its secret", token: hs256(key.publicPem, good, { ...header, alg: "HS256" }) },
    {
      what: "HS256 with the modulus as its secret",
      token: hs256(String(key.jwk.n), good, { ...header, alg: "HS256" }),
    },
    { what: "RS384", token: signed({}, { alg: "RS384" }) },
    { what: "PS256", token: signed({}, { alg: "PS256" }) },
    { what: "ES256", token: signed({}, { alg: "ES256" }) },
    { what: "alg in lower case", token: signed({}, { alg: "rs256" }) },
    { what: "alg as a list", token: signed({}, { alg: ["RS256"] }) },
    { what: "no alg", token: rs256(key, good, { kid: "key-1" }) },
    { what: "no kid", token: rs256(key, good, { alg: "RS256" }) },
    { what: "an empty kid", token: signed({}, { kid: "" }) },
    { what: "a kid that is a number", token: signed({}, { kid: 1 }) },
    { what: "a kid of 257 characters", token: signed({}, { kid: "k".repeat(257) }) },
    { what: "an access token's typ", token: signed({}, { typ: "at+jwt" }) },
    { what: "a logout token's typ", token: signed({}, { typ: "logout+jwt" }) },
    { what: "a typ that is null", token: signed({}, { typ: null }) },
    { what: "crit", token: signed({}, { crit: ["exp"] }) },
    { what: "an empty crit", token: signed({}, { crit: [] }) },
    { what: "b64", token: signed({}, { b64: false }) },
    { what: "a key of its own", token: rs256(stranger, good, { ...header, jwk: stranger.jwk }) },
    { what: "a key address of its own", token: rs256(stranger, good, { ...header, jku: "https://evil.example/keys" }) },
    { what: "a certificate address", token: signed({}, { x5u: "https://evil.example/" }) },
    { what: "a certificate", token: signed({}, { x5c: ["MII"] }) },
    { what: "compression", token: signed({}, { zip: "DEF" }) },
  ])("$what", async ({ token }) => {
    const { verify, asked } = verifier();
    await expect(verify(token)).rejects.toMatchObject({ code: "subject_token_invalid" });
    expect(asked).toEqual([]);
  });
});

describe("a signature is refused when", () => {
  const other = signed({ jti: "other" }).split(".")[2] ?? "";
  test.each([
    { what: "another key made it under the same kid", token: rs256(stranger, good) },
    { what: "the kid is not published", token: signed({}, { kid: "key-2" }) },
    { what: "it belongs to another token", token: `${goodHeader}.${goodPayload}.${other}` },
    {
      what: "the payload was changed",
      token: `${goodHeader}.${part(JSON.stringify({ ...good, job: "8" }))}.${goodSignature}`,
    },
    { what: "it was cut short", token: `${goodHeader}.${goodPayload}.${goodSignature.slice(0, 340)}` },
    {
      what: "bytes were added to it",
      token: `${goodHeader}.${goodPayload}.${part(Buffer.concat([Buffer.from(goodSignature, "base64url"), Buffer.alloc(2)]))}`,
    },
    { what: "it is all zeros", token: `${goodHeader}.${goodPayload}.${part(Buffer.alloc(256))}` },
    { what: "it is one byte", token: `${goodHeader}.${goodPayload}.${part(Buffer.alloc(1, 1))}` },
  ])("$what", async ({ token }) => {
    expect(await refusal(token)).toMatchObject({ code: "subject_token_invalid" });
  });
});

describe("the audience is refused when it is", () => {
  test.each([
    { what: "somebody else's", aud: "https://vault.example" },
    { what: "ours and a second", aud: [audience, "https://vault.example"] },
    { what: "a second and ours", aud: ["https://vault.example", audience] },
    { what: "ours twice", aud: [audience, audience] },
    { what: "an empty list", aud: [] },
    { what: "a list in a list", aud: [[audience]] },
    { what: "missing", aud: undefined },
    { what: "null", aud: null },
    { what: "true", aud: true },
    { what: "an object", aud: { 0: audience, length: 1 } },
    { what: "ours with a slash", aud: `${audience}/` },
    { what: "ours in capitals", aud: audience.toUpperCase() },
    { what: "ours among others in one string", aud: `${audience} https://vault.example` },
  ])("$what", async ({ aud }) => {
    expect(await refusal(signed({ aud }))).toMatchObject({
      code: "audience_refused",
      message: expect.stringContaining(`ask for "${audience}" alone`),
    });
  });
});

describe("the times are refused when", () => {
  test.each([
    { what: "it expired 60 s ago", change: { iat: now - 3600, exp: now - 60 }, code: "subject_token_expired" },
    { what: "it expired in 1970", change: { iat: 0, nbf: 0, exp: 1 }, code: "subject_token_expired" },
    { what: "it is issued 61 s from now", change: { iat: now + 61, nbf: now }, code: "subject_token_invalid" },
    { what: "it is valid 61 s from now", change: { nbf: now + 61 }, code: "subject_token_invalid" },
    { what: "it lives a second too long", change: { exp: now + 86_401 }, code: "subject_token_invalid" },
    {
      what: "it was issued long ago and lives for ever",
      change: { iat: 0, exp: now + 60 },
      code: "subject_token_invalid",
    },
    { what: "exp is iat", change: { exp: now }, code: "subject_token_invalid" },
    { what: "exp is before iat", change: { exp: now - 1 }, code: "subject_token_invalid" },
    { what: "exp is missing", change: { exp: undefined }, code: "subject_token_invalid" },
    { what: "iat is missing", change: { iat: undefined }, code: "subject_token_invalid" },
    { what: "exp is text", change: { exp: String(now + 60) }, code: "subject_token_invalid" },
    { what: "exp is null", change: { exp: null }, code: "subject_token_invalid" },
    { what: "exp has a fraction", change: { exp: now + 0.5 }, code: "subject_token_invalid" },
    { what: "exp is in ms", change: { exp: now * 1000, iat: now * 1000 }, code: "subject_token_invalid" },
    { what: "iat is negative", change: { iat: -1 }, code: "subject_token_invalid" },
    { what: "nbf is text", change: { nbf: "now" }, code: "subject_token_invalid" },
    { what: "nbf is null", change: { nbf: null }, code: "subject_token_invalid" },
  ])("$what", async ({ change, code }) => {
    expect(await refusal(signed(change))).toMatchObject({ code });
  });
});

describe("the replay key", () => {
  const replayKey = async (token: string) => (await verifier().verify(token)).replayKey;

  test("is the same for one jti, whatever else the token says", async () => {
    expect(await replayKey(signed({ exp: now + 60 }))).toBe(await replayKey(signed({})));
    expect(await replayKey(signed({ jti: "jti-2" }))).not.toBe(await replayKey(signed({})));
  });

  test("is the signing input's where there is no jti", async () => {
    const token = signed({ jti: undefined });
    expect(await replayKey(token)).toBe(await replayKey(token));
    expect(await replayKey(signed({ jti: undefined, job: "8" }))).not.toBe(await replayKey(token));
  });

  test.each([{ jti: "" }, { jti: 7 }, { jti: null }, { jti: ["a"] }])(
    "needs a jti that is text: $jti",
    async ({ jti }) => {
      expect(await refusal(signed({ jti }))).toMatchObject({ code: "subject_token_invalid" });
    },
  );
});

test("what the provider refuses is refused with its words", async () => {
  expect(await refusal(signed({ job: undefined }))).toEqual({ code: "identity_refused", message: "No job." });
});

test("an issuer that cannot be asked is an outage", async () => {
  const keys = createKeySource({ issuerUrl: url, fetch: async () => Promise.reject(new TypeError()), clock });
  expect(await refusal(signed({}), { keys })).toMatchObject({ code: "issuer_unreachable" });
});

test("two issuers with one url are refused at construction", () => {
  const issuer = { name: "a", url, audience } as SubjectIssuer;
  expect(() => createVerifier({ issuers: [issuer, { ...issuer, name: "b" }], clock })).toThrow(
    "Two issuers have one url",
  );
});

describe("properties", () => {
  const { verify } = verifier();
  const refusedWell = async (token: string): Promise<void> => {
    const error: unknown = await verify(token).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(WayleaveError);
    expect((error as WayleaveError).code).not.toBe("internal");
  };

  test("arbitrary text is refused, with one of our errors", async () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.base64String(),
      fc.stringMatching(/^[\w-]*\.[\w-]*\.[\w-]*$/),
    );
    await fc.assert(fc.asyncProperty(text, refusedWell));
  });

  test("arbitrary JSON in header and payload is refused, even under a good signature", async () => {
    const header = fc.oneof(fc.jsonValue(), fc.record({ alg: fc.jsonValue(), kid: fc.jsonValue() }));
    const payload = fc.oneof(
      fc.jsonValue(),
      fc.record({ iss: fc.constant(url), aud: fc.jsonValue(), exp: fc.jsonValue(), iat: fc.jsonValue() }),
    );
    await fc.assert(
      fc.asyncProperty(header, payload, (first, second) =>
        refusedWell(rs256(key, JSON.stringify(second), JSON.stringify(first))),
      ),
      { numRuns: 50 },
    );
    await fc.assert(
      fc.asyncProperty(payload, (claims) => refusedWell(rs256(key, JSON.stringify(claims)))),
      { numRuns: 50 },
    );
  });

  test("a good token with any one character changed is refused", async () => {
    const token = signed({});
    const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ";
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.constantFrom(...characters), async (at, character) => {
        fc.pre(token[at] !== character);
        await refusedWell(token.slice(0, at) + character + token.slice(at + 1));
      }),
    );
  });

  test("no refusal quotes the token", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("aud", "exp", "iat", "iss", "jti", "job"),
        fc.jsonValue(),
        async (claim, value) => {
          const token = signed({ [claim]: value });
          const { message } = await refusal(token);
          for (const piece of token.split(".")) expect(message).not.toContain(piece.slice(0, 40));
        },
      ),
      { numRuns: 50 },
    );
  });
});
