import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readJwks } from "./jwks-document.ts";
import { signingKey } from "./subject-tokens.fake.ts";

const good = signingKey("good");
const weak = signingKey("weak", 1024);
const curve = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" });
const privateJwk = good.privateKey.export({ format: "jwk" });

const kidsOf = (...keys: unknown[]) => {
  const read = readJwks({ keys });
  return read.ok ? [...read.keys.keys()] : undefined;
};

describe("a key is left out when", () => {
  test.each([
    { what: "it has no kid", key: { ...good.jwk, kid: undefined } },
    { what: "its kid is empty", key: { ...good.jwk, kid: "" } },
    { what: "its kid is a number", key: { ...good.jwk, kid: 7 } },
    { what: "it is for encryption", key: { ...good.jwk, use: "enc" } },
    { what: "its use is unknown", key: { ...good.jwk, use: "x509-svid" } },
    { what: "its operations leave out verify", key: { ...good.jwk, key_ops: ["encrypt"] } },
    { what: "its operations are no list", key: { ...good.jwk, key_ops: "verify" } },
    { what: "it is symmetric", key: { kty: "oct", kid: "good", k: "c2VjcmV0", alg: "HS256" } },
    { what: "it is private", key: { ...privateJwk, kid: "good" } },
    { what: "its alg is HS256", key: { ...good.jwk, alg: "HS256" } },
    { what: "its alg is none", key: { ...good.jwk, alg: "none" } },
    { what: "its alg belongs to another kty", key: { ...good.jwk, alg: "ES256" } },
    { what: "its alg is for encryption", key: { ...good.jwk, alg: "RSA-OAEP" } },
    { what: "its RSA modulus has 1024 bits", key: { ...weak.jwk, kid: "good" } },
    {
      what: "its RSA modulus is zero",
      key: { ...good.jwk, n: Buffer.alloc(256, 0).toString("base64url") },
    },
    { what: "its RSA modulus is enormous", key: { ...good.jwk, n: Buffer.alloc(4096, 255).toString("base64url") } },
    { what: "its RSA exponent is 1", key: { ...good.jwk, e: "AQ" } },
    { what: "its RSA modulus is missing", key: { ...good.jwk, n: undefined } },
    { what: "its modulus is not base64url", key: { ...good.jwk, n: `${String(good.jwk.n)}=` } },
    { what: "its kty is unknown", key: { ...good.jwk, kty: "OKP", crv: "Ed25519", x: "AA" } },
    { what: "its curve is unknown", key: { ...curve, kid: "good", crv: "secp256k1" } },
    { what: "its curve is a name of Object", key: { ...curve, kid: "good", crv: "constructor" } },
    { what: "it is null", key: null },
    { what: "it is a list", key: [good.jwk] },
  ])("$what", ({ key }) => {
    expect(kidsOf(key)).toEqual([]);
  });

  test("another key has its kid, and both are", () => {
    const other = signingKey("good");
    expect(kidsOf(good.jwk, other.jwk)).toEqual([]);
    expect(kidsOf(good.jwk, other.jwk, good.jwk)).toEqual([]);
  });
});

test("the same key listed twice counts once", () => {
  expect(kidsOf(good.jwk, { ...good.jwk })).toEqual(["good"]);
});

test("one bad key does not spoil the others", () => {
  expect(kidsOf({ ...weak.jwk }, good.jwk, { kty: "oct", kid: "sym", k: "AA" })).toEqual(["good"]);
});

test("a key without alg and use verifies what its kty can", () => {
  const read = readJwks({ keys: [{ kty: "RSA", kid: "plain", n: good.jwk.n, e: good.jwk.e }] });
  expect(read.ok && read.keys.get("plain")?.algorithms).toContain("RS256");
  expect(read.ok && read.keys.get("plain")?.algorithms).not.toContain("ES256");
});

test("only public members of a key are kept", () => {
  const read = readJwks({ keys: [{ ...good.jwk, x5c: ["MII"], x5u: "https://evil.example/" }] });
  expect(read.ok && Object.keys(read.keys.get("good")?.jwk ?? {}).toSorted()).toEqual(["e", "kty", "n"]);
});

test("a JWKS without keys is valid and revokes everything", () => {
  expect(readJwks({ keys: [] })).toEqual({ ok: true, keys: new Map() });
});

test.each([
  { what: "null", value: null },
  { what: "a list", value: [good.jwk] },
  { what: "an object without keys", value: {} },
  { what: "keys that are no list", value: { keys: good.jwk } },
  { what: "101 keys", value: { keys: Array.from({ length: 101 }, (_, at) => ({ ...good.jwk, kid: `k${at}` })) } },
])("$what is no JWKS", ({ value }) => {
  expect(readJwks(value).ok).toBe(false);
});

test("arbitrary JSON never throws and never yields a key", () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue(), { maxLength: 5 }), (keys) => {
      const read = readJwks({ keys });
      expect(read.ok && read.keys.size).toBe(0);
    }),
  );
});
