import { createHash } from "node:crypto";
import fc from "fast-check";
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { createProofVerifier, type ProofVerifier } from "./proof.ts";
import { createProofNonces } from "./proof-nonce.ts";

const now = Date.parse("2026-11-24T09:30:00Z");
const url = "https://wayleave.example/oauth2/token";
const request = { method: "POST", url };
const pair = await generateKeyPair("ES256", { extractable: true });
const jwk = await exportJWK(pair.publicKey);
const privateJwk = await exportJWK(pair.privateKey);
const foreignKey = await exportJWK((await generateKeyPair("ES256", { extractable: true })).publicKey);
const ath = (token: string) => createHash("sha256").update(token).digest("base64url");

let proofs = 0;
async function prove(claims: object = {}, header: object = {}): Promise<string> {
  return new SignJWT({ jti: `jti-number-${++proofs}`, htm: "POST", htu: url, iat: now / 1000, ...claims })
    .setProtectedHeader({ alg: "ES256", typ: "dpop+jwt", jwk, ...header })
    .sign(pair.privateKey);
}

async function outcome(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "accepted";
  } catch (error) {
    return error instanceof WayleaveError ? error.code : String(error);
  }
}

const verifyWith = async (verifier: ProofVerifier, proof: string, more: object = {}, at = now) =>
  outcome(verifier.verify(proof, { ...request, ...more }, at));

describe("a proof of possession", () => {
  test("gives the thumbprint of its key, once, and is remembered for as long as its time would be right", async () => {
    const verifier = createProofVerifier();
    const proof = await prove({ iat: now / 1000 + 60 });
    expect(await verifier.verify(proof, request, now)).toBe(await calculateJwkThumbprint(jwk));
    expect(await verifyWith(verifier, proof)).toBe("proof_replayed");
    expect(await verifyWith(verifier, proof, {}, now + 119_999)).toBe("proof_replayed");
  });

  test("of the same jti by another key is another proof", async () => {
    const verifier = createProofVerifier();
    const other = await generateKeyPair("ES256", { extractable: true });
    const claims = { jti: "the-same-one", htm: "POST", htu: url, iat: now / 1000 };
    const theirs = await new SignJWT(claims)
      .setProtectedHeader({ alg: "ES256", typ: "dpop+jwt", jwk: await exportJWK(other.publicKey) })
      .sign(other.privateKey);
    expect(await verifyWith(verifier, await prove(claims))).toBe("accepted");
    expect(await verifyWith(verifier, theirs)).toBe("accepted");
  });

  test.each<{ why: string; claims?: object; header?: object }>([
    { why: "for another method", claims: { htm: "GET" } },
    { why: "for the method in small letters", claims: { htm: "post" } },
    { why: "for another path", claims: { htu: "https://wayleave.example/oauth2/revoke" } },
    { why: "for the same path of another host", claims: { htu: "https://evil.example/oauth2/token" } },
    { why: "for the URL with a query", claims: { htu: `${url}?a=b` } },
    { why: "made more than a minute ahead", claims: { iat: now / 1000 + 61 } },
    { why: "made more than a minute ago", claims: { iat: now / 1000 - 61 } },
    { why: "whose iat is no number", claims: { iat: "now" } },
    { why: "without jti", claims: { jti: undefined } },
    { why: "with a jti that can be guessed", claims: { jti: "1" } },
    { why: "with an endless jti", claims: { jti: "j".repeat(257) } },
    { why: "without htm", claims: { htm: undefined } },
    { why: "without htu", claims: { htu: undefined } },
    { why: "of another typ", header: { typ: "JWT" } },
    { why: "without jwk", header: { jwk: undefined } },
    { why: "that shows another key than it was made with", header: { jwk: foreignKey } },
    { why: "that shows its private key", header: { jwk: privateJwk } },
  ])("$why is refused", async ({ claims = {}, header = {} }) => {
    expect(await verifyWith(createProofVerifier(), await prove(claims, header))).toBe("proof_invalid");
  });

  test.each(["HS256", "none", "RS256", "ES384"])("that says alg %s is refused", async (alg) => {
    const [, payload = "", signature = ""] = (await prove()).split(".");
    const header = Buffer.from(JSON.stringify({ alg, typ: "dpop+jwt", jwk })).toString("base64url");
    expect(await verifyWith(createProofVerifier(), `${header}.${payload}.${signature}`)).toBe("proof_invalid");
  });

  test("by an RSA key is refused", async () => {
    const rsa = await generateKeyPair("RS256", { extractable: true });
    const proof = await new SignJWT({ jti: "12345678", htm: "POST", htu: url, iat: now / 1000 })
      .setProtectedHeader({ alg: "RS256", typ: "dpop+jwt", jwk: await exportJWK(rsa.publicKey) })
      .sign(rsa.privateKey);
    expect(await verifyWith(createProofVerifier(), proof)).toBe("proof_invalid");
  });

  test.each([
    { why: "without ath", claims: {} },
    { why: "that names another token", claims: { ath: ath("other") } },
    { why: "that names the token itself", claims: { ath: "wlr_x" } },
  ])("$why does not go with a token", async ({ claims }) => {
    expect(await verifyWith(createProofVerifier(), await prove(claims), { token: "wlr_x" })).toBe("proof_invalid");
  });

  test("that names its token goes with it", async () => {
    const proof = await prove({ ath: ath("wlr_x") });
    expect(await verifyWith(createProofVerifier(), proof, { token: "wlr_x" })).toBe("accepted");
  });

  test("of a key that the caller refuses is not remembered", async () => {
    const verifier = createProofVerifier({ capacity: 1 });
    const refuse = () => {
      throw new WayleaveError("proof_invalid", "Another key.");
    };
    expect(await outcome(verifier.verify(await prove(), request, now, refuse))).toBe("proof_invalid");
    expect(await verifyWith(verifier, await prove())).toBe("accepted");
  });

  test("is refused rather than forgotten where there are too many", async () => {
    const verifier = createProofVerifier({ capacity: 1 });
    const first = await prove();
    expect(await verifyWith(verifier, first)).toBe("accepted");
    expect(await verifyWith(verifier, await prove())).toBe("proof_invalid");
    expect(await verifyWith(verifier, first)).toBe("proof_replayed");
    expect(await verifyWith(verifier, await prove({ iat: now / 1000 + 120 }), {}, now + 120_000)).toBe("accepted");
  });

  test("law: however the clock goes, forward and back, no proof is accepted twice", async () => {
    const made = await Promise.all([-60, 0, 60].map((seconds) => prove({ iat: now / 1000 + seconds })));
    const step = fc.record({ proof: fc.integer({ min: 0, max: 2 }), seconds: fc.integer({ min: -200, max: 400 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const verifier = createProofVerifier();
        const accepted: number[] = [];
        for (const { proof, seconds } of steps) {
          const said = await verifyWith(verifier, made[proof] ?? "", {}, now + seconds * 1000);
          if (said === "accepted") accepted.push(proof);
        }
        expect(new Set(accepted).size).toBe(accepted.length);
      }),
      {
        numRuns: 150,
        examples: [
          [
            [
              { proof: 2, seconds: 0 },
              { proof: 1, seconds: 0 },
            ],
          ],
        ],
      },
    );
    const verifier = createProofVerifier();
    const [, first = ""] = made;
    const later = await prove({ iat: now / 1000 + 61 });
    expect(await verifyWith(verifier, first)).toBe("accepted");
    const ahead = await prove({ iat: now / 1000 + 150 });
    expect(await verifyWith(verifier, ahead, {}, now + 150_000)).toBe("accepted"); // forgets the first one
    expect(await verifyWith(verifier, first)).toBe("proof_invalid");
    expect(await verifyWith(verifier, later, {}, now + 30_000)).toBe("accepted"); // and only what is as old
  });

  test("made before the verifier began is refused: another process may have seen it", async () => {
    const verifier = createProofVerifier({ since: now + 1500 });
    expect(await verifyWith(verifier, await prove({ iat: now / 1000 }), {}, now + 2000)).toBe("proof_invalid");
    expect(await verifyWith(verifier, await prove({ iat: now / 1000 + 1 }), {}, now + 2000)).toBe("accepted");
  });
});

describe("a proof where nonces are asked for", () => {
  const nonces = createProofNonces(Buffer.alloc(32, 1));

  test("needs the one of now, or that before it", async () => {
    const verifier = createProofVerifier({ nonces });
    expect(await verifyWith(verifier, await prove())).toBe("proof_nonce_required");
    expect(await verifyWith(verifier, await prove({ nonce: nonces.current(now) }))).toBe("accepted");
    expect(await verifyWith(verifier, await prove({ nonce: nonces.current(now - 150_000) }))).toBe("accepted");
    expect(await verifyWith(verifier, await prove({ nonce: nonces.current(now - 300_000) }))).toBe("proof_nonce_stale");
  });

  test.each([
    "",
    "x",
    "ä".repeat(12),
    createProofNonces(Buffer.alloc(32, 2)).current(now),
    nonces.current(now + 150_000),
  ])("is refused with the nonce %j", async (nonce) => {
    expect(await verifyWith(createProofVerifier({ nonces }), await prove({ nonce }))).toBe("proof_nonce_stale");
  });

  test("is not used up by a refusal for its nonce", async () => {
    const verifier = createProofVerifier({ nonces });
    await verifyWith(verifier, await prove({ jti: "once-again-please" }));
    expect(await verifyWith(verifier, await prove({ jti: "once-again-please", nonce: nonces.current(now) }))).toBe(
      "accepted",
    );
  });

  test("law: a nonce is accepted for at least one window and at most two, and never before it is handed out", () => {
    const anytime = fc.integer({ min: 0, max: 4e12 });
    fc.assert(
      fc.property(anytime, fc.integer({ min: -600_000, max: 600_000 }), (at, later) => {
        const accepted = nonces.accepts(nonces.current(at), at + later);
        if (later >= 0 && later <= 150_000) return accepted;
        return later >= 300_000 || later < -150_000 ? !accepted : true;
      }),
    );
  });
});

/** Only what RFC 7638 names goes into the thumbprint, whatever else the key says. */
test("a key's own words do not change its thumbprint", async () => {
  const talkative: JWK = { ...jwk, kid: "me", use: "sig" };
  const verifier = createProofVerifier();
  expect(await verifier.verify(await prove({}, { jwk: talkative }), request, now)).toBe(
    await calculateJwkThumbprint(jwk),
  );
});
