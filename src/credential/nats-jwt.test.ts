import { randomBytes } from "node:crypto";
import { decode, encodeAccount, encodeAuthorizationResponse, encodeOperator, encodeUser } from "@nats-io/jwt";
import { fromSeed, type KeyPair } from "@nats-io/nkeys";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { NatsClaims } from "./nats-claims.ts";
import { decodeNatsJwt, encodeNatsJwt, unverifiedExpiry } from "./nats-jwt.ts";
import { createNkey, type Nkey } from "./nats-nkey.ts";

const now = Date.parse("2026-11-24T14:00:00.750Z");
const operator = createNkey("operator", randomBytes);
const account = createNkey("account", randomBytes);
const signing = createNkey("account", randomBytes);
const user = createNkey("user", randomBytes);
const server = createNkey("server", randomBytes);
const limits = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: 0 };

function theirs({ seed }: Nkey): KeyPair {
  return fromSeed(new TextEncoder().encode(seed));
}

describe("byte for byte what the reference implementation writes", () => {
  beforeEach(() => void vi.useFakeTimers({ now, toFake: ["Date"] }));
  afterEach(() => void vi.useRealTimers());

  test("an operator", async () => {
    const body = { signing_keys: [signing.publicKey], system_account: account.publicKey };
    const right = await encodeOperator("acme", theirs(operator), { ...body } as object);
    const claims = { aud: "NATS", name: "acme", sub: operator.publicKey, nats: { ...body, type: "operator" as const } };
    expect(encodeNatsJwt(claims, operator, now)).toBe(right);
  });

  test("an account signed by a signing key of its operator", async () => {
    const body = { limits, signing_keys: [signing.publicKey] };
    const right = await encodeAccount("CI", theirs(account), { ...body }, { signer: theirs(operator) });
    const claims = { aud: "NATS", name: "CI", sub: account.publicKey, nats: { ...body, type: "account" as const } };
    expect(encodeNatsJwt(claims, operator, now)).toBe(right);
  });

  test("a user signed by a signing key of its account", async () => {
    const body = { data: -1, payload: 1024, subs: 10, pub: { allow: ["a.>"] }, resp: { max: 1, ttl: 120_000_000_000 } };
    const opts = { signer: theirs(signing), exp: 1_800_000_000 };
    const right = await encodeUser("gitlab:7", theirs(user), theirs(account), { ...body }, opts);
    const nats = { ...body, issuer_account: account.publicKey, type: "user" as const };
    const claims = { exp: 1_800_000_000, aud: "NATS", name: "gitlab:7", sub: user.publicKey, nats };
    expect(encodeNatsJwt(claims, signing, now)).toBe(right);
  });

  test("an authorization response", async () => {
    const right = await encodeAuthorizationResponse(
      theirs(user),
      theirs(server),
      theirs(account),
      { jwt: "x" } as never,
      {},
    );
    const claims = {
      aud: server.publicKey,
      sub: user.publicKey,
      nats: { jwt: "x", type: "authorization_response" as const },
    };
    expect(encodeNatsJwt(claims, account, now)).toBe(right);
    expect(decodeNatsJwt(right).claims).toMatchObject({ ...claims, iss: account.publicKey });
  });
});

const claims: NatsClaims = { sub: user.publicKey, name: "n", exp: 1_800_000_000, nats: { type: "generic", a: ["b"] } };

test("each side decodes what the other wrote", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.dictionary(fc.string(), fc.jsonValue()), (name, more) => {
      const token = encodeNatsJwt({ ...claims, name, nats: { ...more, type: "generic" } }, account, now);
      const { claims: ours, header } = decodeNatsJwt(token);
      expect(header).toEqual({ typ: "JWT", alg: "ed25519-nkey" });
      expect(JSON.stringify(decode(token))).toBe(JSON.stringify(ours));
      expect([ours.iss, ours.iat, ours.name]).toEqual([account.publicKey, 1_795_528_800, name]);
    }),
    { numRuns: 25 },
  );
});

test("tokens that differ in anything have another jti: a resolver takes equal ones for the same token", () => {
  const jti = (given: NatsClaims, at = now) => decodeNatsJwt(encodeNatsJwt(given, account, at)).claims.jti;
  expect(jti(claims)).toBe(jti(claims));
  expect(jti(claims)).not.toBe(jti({ ...claims, nats: { type: "generic", a: ["c"] } }));
  expect(jti(claims)).not.toBe(jti(claims, now + 1_000));
});

const right = encodeNatsJwt(claims, account, now);
const [head = "", body = "", mac = ""] = right.split(".");
const part = (value: unknown) =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
/** Signed as it should be, whatever it says. */
const signed = (header: unknown, said: unknown, signer = account) => {
  const input = `${part(header)}.${part(said)}`;
  return `${input}.${signer.sign(Buffer.from(input)).toString("base64url")}`;
};
const v2 = { typ: "JWT", alg: "ed25519-nkey" };
const good = JSON.parse(Buffer.from(body, "base64url").toString()) as Record<string, unknown>;
const other = createNkey("account", randomBytes);

test("the forger of these tests can write a token that is right", () => {
  expect(decodeNatsJwt(signed(v2, good)).claims).toEqual(good);
});

test.each([
  { what: "nothing", token: "" },
  { what: "two parts", token: `${head}.${body}` },
  { what: "four parts", token: `${right}.` },
  { what: "no signature", token: `${head}.${body}.` },
  { what: "padding", token: `${right}==` },
  { what: "plain base64", token: `${head}.${body}.${Buffer.from(mac, "base64url").toString("base64")}` },
  { what: "white space", token: ` ${right}` },
  { what: "another key's signature", token: signed(v2, good, other) },
  { what: "an issuer put in afterwards", token: `${head}.${part({ ...good, iss: other.publicKey })}.${mac}` },
  { what: "alg none", token: signed({ ...v2, alg: "none" }, good) },
  { what: "the older alg", token: signed({ ...v2, alg: "ed25519" }, good) },
  { what: "another typ", token: signed({ ...v2, typ: "at+jwt" }, good) },
  { what: "a header that is a list", token: signed([v2], good) },
  { what: "claims that are null", token: signed(v2, "null") },
  { what: "claims that are no JSON", token: signed(v2, "{sub:1}") },
  { what: "no issuer", token: signed(v2, { ...good, iss: undefined }) },
  { what: "an issuer that is a seed", token: signed(v2, { ...good, iss: account.seed }) },
  { what: "no subject", token: signed(v2, { ...good, sub: "" }) },
  { what: "no jti", token: signed(v2, { ...good, jti: undefined }) },
  { what: "a time that is text", token: signed(v2, { ...good, exp: "1800000000" }) },
  { what: "a time beyond numbers", token: signed(v2, { ...good, exp: 1e300 }) },
  { what: "an audience that is a list", token: signed(v2, { ...good, aud: ["a"] }) },
  { what: "a name that is none", token: signed(v2, { ...good, name: 7 }) },
  { what: "no nats", token: signed(v2, { ...good, nats: undefined }) },
  { what: "nats of version 1", token: signed(v2, { ...good, nats: { type: "user", version: 1 } }) },
  { what: "nats without type", token: signed(v2, { ...good, nats: { version: 2 } }) },
  { what: "more than a megabyte", token: signed(v2, { ...good, more: "x".repeat(1_100_000) }) },
])("a token of $what is refused, and not quoted", ({ token }) => {
  expect(() => decodeNatsJwt(token)).toThrow(TypeError);
  expect(() => decodeNatsJwt(token)).toThrow(/^(not a NATS JWT|the signature of the NATS JWT)[^"{]{0,80}$/);
});

test("a token changed in any one place is refused", () => {
  fc.assert(
    fc.property(fc.nat({ max: right.length - 1 }), fc.constantFrom(..."ABab01-_.=+/ \n"), (at, put) => {
      fc.pre(right[at] !== put);
      expect(() => decodeNatsJwt(right.slice(0, at) + put + right.slice(at + 1))).toThrow(TypeError);
    }),
    { numRuns: 1_000 },
  );
});

test("unverifiedExpiry reads exp without caring who signed, and never throws", () => {
  expect(unverifiedExpiry(`x.${body}.`)).toBe(1_800_000_000_000);
  for (const wrong of ["", "x", "x.!.", `x.${part("7")}.y`, `x.${part({ exp: "1" })}.y`, `x.${part({})}.y`])
    expect(unverifiedExpiry(wrong)).toBeUndefined();
});
