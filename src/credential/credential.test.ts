import fc from "fast-check";
import { type CryptoKey, decodeJwt, decodeProtectedHeader, generateKeyPair, SignJWT } from "jose";
import { beforeAll, describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import { type AccessTokenInput, mintAccessToken, verifyAccessToken } from "./access-token.ts";
import { mintAssertion, pathHash, verifyAssertion } from "./assertion.ts";
import { fingerprint, fingerprintKey } from "./fingerprint.ts";
import { testKeyRing } from "./key-chain.fake.ts";
import type { KeyRing } from "./keys.ts";
import { createTokenCache } from "./token-cache.ts";

const operatorKey = new Uint8Array(32).fill(7);
const now = Date.parse("2026-11-24T09:30:00Z");
const issuerUrl = "https://wayleave.acme.example";
const job: JobIdentity = {
  issuer: "gitlab",
  issuerType: "gitlab",
  kind: "job",
  project: { id: "1042", path: "acme/shop" },
  pipelineId: "5101",
  job: { id: "7712", name: "release" },
  ref: "main",
  environment: "production",
  triggeredBy: { id: "9", login: "jdoe" },
  fork: "no",
  attributes: {},
  variables: {},
};
const input: AccessTokenInput = {
  issuerUrl,
  trustDomain: "acme.example",
  sessionId: "ses_0123456789abcdef",
  identity: job,
  targets: ["billing"],
  roles: ["read", "release"],
  rolesNarrowed: false,
  denies: ["deny-1"],
  policy: "41c0aa",
  jti: "jti-1",
  now,
  expiresAt: now + 300_000,
};
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "accepted",
    (error: unknown) => (error instanceof WayleaveError ? error.code : `unexpected ${String(error)}`),
  );

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing("access-token");
});

describe("access tokens", () => {
  test("are RFC 9068 JWTs that name the job", async () => {
    const token = await mintAccessToken(keys, input);
    expect(decodeProtectedHeader(token)).toEqual({ alg: "ES256", typ: "at+jwt", kid: keys.kid });
    expect(decodeJwt(token)).toEqual({
      iss: issuerUrl,
      sub: "spiffe://acme.example/ci/gitlab/1042",
      aud: ["billing"],
      client_id: "gitlab",
      sid: "ses_0123456789abcdef",
      roles: ["read", "release"],
      denies: ["deny-1"],
      pol: "41c0aa",
      jti: "jti-1",
      iat: now / 1000,
      exp: now / 1000 + 300,
      job: {
        project_id: "1042",
        project_path: "acme/shop",
        pipeline_id: "5101",
        job_id: "7712",
        name: "release",
        ref: "main",
        environment: "production",
        triggered_by: "9",
      },
    });
  });

  test("say what they narrow", async () => {
    const token = await mintAccessToken(keys, { ...input, roles: ["read"], rolesNarrowed: true });
    expect((await verifyAccessToken(keys, issuerUrl, token, now)).narrowing).toEqual({
      targets: ["billing"],
      roles: ["read"],
    });
  });

  const forged = async (header: object, claims: object, key?: CryptoKey) =>
    new SignJWT({ sid: "s", jti: "j", ...claims })
      .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: keys.kid, ...header })
      .setIssuer(issuerUrl)
      .setAudience(["billing"])
      .setExpirationTime(now / 1000 + 60)
      .sign(key ?? keys.privateKey);

  test.each([
    { why: "of another typ", make: () => forged({ typ: "JWT" }, {}) },
    { why: "with an unknown kid", make: () => forged({ kid: "other" }, {}) },
    { why: "without a session", make: () => forged({}, { sid: undefined }) },
    { why: "bound in a way that is not known", make: () => forged({}, { cnf: { "x5t#S256": "x" } }) },
    { why: "bound to a key in two ways", make: () => forged({}, { cnf: { jkt: "x", kid: "y" } }) },
    { why: "bound to nothing", make: () => forged({}, { cnf: {} }) },
    { why: "by another key", make: async () => forged({}, {}, (await generateKeyPair("ES256")).privateKey) },
    { why: "that is an assertion", make: () => mintAssertion(keys, assertion) },
    { why: "with a byte added to its signature", make: async () => `${await forged({}, {})}AA` },
    { why: "without a signature", make: async () => (await forged({}, {})).replace(/[^.]*$/, "") },
    { why: "that is no token", make: async () => "a.b.c" },
  ])("a token $why is refused", async ({ make }) => {
    expect(await code(make().then((token) => verifyAccessToken(keys, issuerUrl, token, now)))).toBe(
      "credential_invalid",
    );
  });

  test("a token says which key it is bound to, and one that is bearer says nothing", async () => {
    const bound = await mintAccessToken(keys, { ...input, jkt: "thumbprint" });
    expect(decodeJwt(bound).cnf).toEqual({ jkt: "thumbprint" });
    expect((await verifyAccessToken(keys, issuerUrl, bound, now)).jkt).toBe("thumbprint");
    const bearer = await verifyAccessToken(keys, issuerUrl, await mintAccessToken(keys, input), now);
    expect("jkt" in bearer).toBe(false);
  });

  test("an expired token is refused to the second", async () => {
    const token = await mintAccessToken(keys, input);
    expect(await code(verifyAccessToken(keys, issuerUrl, token, now + 299_000))).toBe("accepted");
    expect(await code(verifyAccessToken(keys, issuerUrl, token, now + 300_000))).toBe("credential_invalid");
  });

  test("a token of another issuer is refused", async () => {
    const token = await mintAccessToken(keys, { ...input, issuerUrl: "https://other.example" });
    expect(await code(verifyAccessToken(keys, issuerUrl, token, now))).toBe("credential_invalid");
  });
});

const assertion = {
  issuerUrl,
  trustDomain: "acme.example",
  subject: "spiffe://acme.example/ci/gitlab/1042",
  sessionId: "ses_0123456789abcdef",
  transaction: "rec_000000000001",
  role: "release",
  denies: ["deny-1"],
  policy: "41c0aa",
  gateway: "edge-1",
  target: "billing",
  method: "POST",
  path: "/v1/releases",
  now,
  hardEndAt: now + 3_600_000,
};

describe("assertions", () => {
  test("name one request, for thirty seconds", async () => {
    const claims = decodeJwt(await mintAssertion(keys, assertion));
    expect(claims).toMatchObject({ aud: "acme.example", txn: "rec_000000000001", exp: now / 1000 + 30 });
    expect(claims.tctx).toEqual({ target: "billing", method: "POST", path_sha256: pathHash("/v1/releases") });
  });

  test("are read back by who holds the keys, until they expire", async () => {
    const token = await mintAssertion(keys, assertion);
    const read = (at: number) => verifyAssertion(keys, { issuerUrl, trustDomain: "acme.example" }, token, at);
    expect(await read(now)).toMatchObject({ sessionId: assertion.sessionId, role: "release", target: "billing" });
    expect(await code(read(now + 30_000))).toBe("credential_invalid");
  });

  test.each([
    { why: "an access token", make: () => mintAccessToken(keys, input) },
    {
      why: "one for another trust domain",
      make: () => mintAssertion(keys, { ...assertion, trustDomain: "evil.example" }),
    },
    {
      why: "one of another issuer",
      make: () => mintAssertion(keys, { ...assertion, issuerUrl: "https://evil.example" }),
    },
    { why: "one cut short", make: async () => (await mintAssertion(keys, assertion)).slice(0, -2) },
    { why: "nothing", make: async () => "" },
  ])("$why is refused where an assertion is wanted", async ({ make }) => {
    const token = await make();
    expect(await code(verifyAssertion(keys, { issuerUrl, trustDomain: "acme.example" }, token, now))).toBe(
      "credential_invalid",
    );
  });

  test("never outlive the session", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 60_000 }), async (left) => {
        const { exp = 0 } = decodeJwt(await mintAssertion(keys, { ...assertion, hardEndAt: now + left }));
        expect(exp * 1000).toBeLessThanOrEqual(now + left);
      }),
      { numRuns: 20 },
    );
  });
});

describe("the token cache", () => {
  const verified = { jti: "j", sessionId: "s", narrowing: {}, expiresAt: now + 1000 };

  test("verifies a token once and answers at once from then on, until it expires", async () => {
    let verifications = 0;
    const cache = createTokenCache(async () => {
      verifications++;
      return verified;
    });
    expect(await cache.lookup("token", now)).toMatchObject({ state: "valid" });
    expect(cache.lookup("token", now + 999)).toMatchObject({ state: "valid" });
    expect(cache.lookup("token", now + 1000)).toMatchObject({ state: "expired" });
    expect(verifications).toBe(1);
  });

  test("keeps nothing invalid, and refuses what is too long unread", async () => {
    let verifications = 0;
    const cache = createTokenCache(async () => {
      verifications++;
      throw new WayleaveError("credential_invalid", "no");
    });
    await cache.lookup("x", now);
    await cache.lookup("x", now);
    expect(cache.lookup("x".repeat(9000), now)).toEqual({ state: "invalid" });
    expect(verifications).toBe(2);
  });

  test("a verification that was under way when keys were dropped is not kept", async () => {
    let finish: (value: typeof verified) => void = () => undefined;
    const cache = createTokenCache(() => new Promise((resolve) => (finish = resolve)));
    const first = cache.lookup("token", now);
    cache.clear();
    finish(verified);
    await first;
    expect(cache.lookup("token", now)).toBeInstanceOf(Promise);
  });
});

test("a fingerprint says nothing without the key and is the same with it", () => {
  const key = fingerprintKey(operatorKey);
  expect(fingerprint(key, "token")).toBe(fingerprint(key, "token"));
  expect(fingerprint(key, "token")).toMatch(/^fp_[0-9a-z]{16}$/);
  expect(fingerprint(fingerprintKey(new Uint8Array(32)), "token")).not.toBe(fingerprint(key, "token"));
});
