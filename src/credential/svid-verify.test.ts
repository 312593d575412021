import { generateKeyPair, SignJWT } from "jose";
import { describe, expect, test } from "vitest";
import { startedAt } from "./ca.fake.ts";
import { verifyRunnerSvid } from "./svid-verify.ts";
import { foreignDomain } from "./trust-bundle.fake.ts";
import { parseTrustBundle } from "./trust-bundle.ts";

const audience = "https://wayleave.acme.example";
const seconds = startedAt / 1000;
const spire = await foreignDomain("spire.example");
const other = await foreignDomain("other.example");
const claims = { sub: "spiffe://spire.example/runner/7", aud: audience, exp: seconds + 300, iat: seconds };
const prefixes = ["spiffe://spire.example/runner"];

const verify = (token: string, keys = spire.bundle()) =>
  verifyRunnerSvid(
    token,
    audience,
    (trustDomain) =>
      trustDomain === "spire.example" ? { bundle: parseTrustBundle(trustDomain, keys), prefixes } : undefined,
    startedAt,
  );

test.each([
  ["one audience as text", {}, {}],
  ["one audience as a list", { aud: [audience] }, {}],
  ["no typ", {}, { typ: undefined }],
  ["typ JOSE", {}, { typ: "JOSE" }],
  ["other claims", { jti: "1", sid: "x" }, {}],
])("a JWT-SVID with %s proves a runner", async (_of, more, header) => {
  const token = await spire.token({ ...claims, ...more }, header);
  expect(await verify(token)).toEqual({
    spiffeId: "spiffe://spire.example/runner/7",
    trustDomain: "spire.example",
    expiresAt: startedAt + 300_000,
  });
});

test.each(["RS256", "PS256", "ES384", "ES512"])("and so does one signed with %s", async (alg) => {
  const domain = await foreignDomain("spire.example", alg);
  expect(await verify(await domain.token(claims), domain.bundle())).toMatchObject({ trustDomain: "spire.example" });
});

describe("refused", () => {
  test.each<[string, object, object, string]>([
    ["another audience", { aud: "https://other" }, {}, "credential_invalid"],
    ["two audiences", { aud: [audience, "https://other"] }, {}, "credential_invalid"],
    ["no audience", { aud: undefined }, {}, "credential_invalid"],
    ["an audience that only begins so", { aud: `${audience}/x` }, {}, "credential_invalid"],
    ["no exp", { exp: undefined }, {}, "credential_invalid"],
    ["an exp that is past", { exp: seconds - 61 }, {}, "credential_invalid"],
    ["an exp two hours ahead", { exp: seconds + 7200 }, {}, "credential_invalid"],
    ["an nbf ahead", { nbf: seconds + 120 }, {}, "credential_invalid"],
    ["a subject that is no SPIFFE ID", { sub: "runner/7" }, {}, "credential_invalid"],
    ["no subject", { sub: undefined }, {}, "credential_invalid"],
    ["a trust domain as subject", { sub: "spiffe://spire.example" }, {}, "credential_invalid"],
    ["another typ", {}, { typ: "at+jwt" }, "credential_invalid"],
    ["another header member", {}, { jku: "https://evil" }, "credential_invalid"],
    ["no kid", {}, { kid: undefined }, "credential_invalid"],
    ["an unknown kid", {}, { kid: "x" }, "credential_invalid"],
    ["another workload of the domain", { sub: "spiffe://spire.example/billing" }, {}, "spiffe_id_refused"],
    ["a name that only begins so", { sub: "spiffe://spire.example/runners/7" }, {}, "spiffe_id_refused"],
    ["an unknown domain", { sub: "spiffe://evil.example/runner/7" }, {}, "spiffe_id_refused"],
    ["our own domain", { sub: "spiffe://acme.example/role/release" }, {}, "spiffe_id_refused"],
  ])("with %s", async (_of, more, header, code) => {
    await expect(verify(await spire.token({ ...claims, ...more }, header))).rejects.toMatchObject({ code });
  });

  test("signed by another domain's key", async () => {
    const token = await other.token(claims, { kid: spire.jwk.kid });
    await expect(verify(token)).rejects.toMatchObject({ code: "credential_invalid" });
  });

  test("signed with a shared secret, or not at all", async () => {
    const secret = new TextEncoder().encode(JSON.stringify(spire.jwk));
    const header = { kid: spire.jwk.kid, typ: "JWT" };
    const shared = await new SignJWT(claims).setProtectedHeader({ alg: "HS256", ...header }).sign(secret);
    const [, payload] = shared.split(".");
    const none = Buffer.from(JSON.stringify({ alg: "none", ...header })).toString("base64url");
    for (const token of [shared, `${none}.${payload}.`, `${none}.${payload}`, "", "a.b.c", "a.b.c.d"])
      await expect(verify(token)).rejects.toMatchObject({ code: "credential_invalid" });
  });

  test("with an algorithm its key is not for", async () => {
    const { privateKey } = await generateKeyPair("RS256");
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: "RS256", kid: spire.jwk.kid, typ: "JWT" })
      .sign(privateKey);
    await expect(verify(token)).rejects.toMatchObject({ code: "credential_invalid" });
  });

  test("where everything of the domain is revoked", async () => {
    await expect(verify(await spire.token(claims), '{"keys":[]}')).rejects.toMatchObject({
      code: "credential_invalid",
    });
  });

  test("and no message holds the token", async () => {
    const token = await spire.token({ ...claims, aud: "x" });
    const error = await verify(token).catch((thrown: unknown) => thrown as Error);
    expect(String(error)).not.toContain(token.slice(0, 30));
  });
});
