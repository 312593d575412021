import { createHash } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import { type KeyRing, refuseRevoked } from "./keys.ts";

/** What an assertion says of one request. Times are ms since the epoch. */
export interface AssertionInput {
  readonly issuerUrl: string;
  readonly trustDomain: string;
  readonly subject: string;
  readonly sessionId: string;
  /** Unique for this request. */
  readonly transaction: string;
  readonly role: string;
  /** Deny ids whose selector matched, and the version of the policy that decided. */
  readonly denies: readonly string[];
  readonly policy: string;
  readonly gateway: string;
  readonly target: string;
  readonly method: string;
  /** Raw request path without query, as the gateway sends it on. */
  readonly path: string;
  readonly now: number;
  readonly hardEndAt: number;
}

/** Longest life of an assertion, ms. */
export const assertionLifeMs = 30_000;

/** Base64url SHA-256 of the raw path: what `tctx.path_sha256` holds and an upstream recomputes. */
export function pathHash(path: string): string {
  return createHash("sha256").update(path).digest("base64url");
}

/**
 * The short signed token that tells the upstream who is calling: header `Txn-Token`, typ `txntoken+jwt`, 30 s and never
 * past the session's hard end, `tctx` naming target, method and path hash.
 *
 * @see draft-ietf-oauth-transaction-tokens
 */
export async function mintAssertion(keys: KeyRing, input: AssertionInput): Promise<string> {
  const expiresAt = Math.min(input.now + assertionLifeMs, input.hardEndAt);
  await keys.ready();
  return new SignJWT({
    txn: input.transaction,
    scope: input.role,
    roles: [input.role],
    denies: [...input.denies],
    pol: input.policy,
    req_wl: `gateway:${input.gateway}`,
    sid: input.sessionId,
    tctx: { target: input.target, method: input.method, path_sha256: pathHash(input.path) },
  })
    .setProtectedHeader({ alg: "ES256", typ: "txntoken+jwt", kid: keys.kid })
    .setIssuer(input.issuerUrl)
    .setAudience(input.trustDomain)
    .setSubject(input.subject)
    .setIssuedAt(Math.floor(input.now / 1000))
    .setExpirationTime(Math.floor(expiresAt / 1000))
    .sign(keys.privateKey);
}

/** What a verified assertion says: one request that a gateway in front was allowed to pass on. */
export interface VerifiedAssertion {
  readonly sessionId: string;
  readonly transaction: string;
  readonly role: string;
  readonly target: string;
  readonly method: string;
  /** As `pathHash` makes it. */
  readonly pathSha256: string;
}

const Payload = z.object({
  sid: z.string().min(1),
  txn: z.string().min(1),
  scope: z.string(),
  tctx: z.object({ target: z.string(), method: z.string(), path_sha256: z.string() }),
});

/**
 * What an assertion of this broker says. Throws `credential_invalid` for anything else and for one past its `exp`.
 * Not checked: whether the request at hand is the one it names, and whether the session still lives.
 */
export async function verifyAssertion(
  keys: KeyRing,
  expected: { readonly issuerUrl: string; readonly trustDomain: string },
  token: string,
  nowMs: number,
): Promise<VerifiedAssertion> {
  try {
    const { payload, protectedHeader } = await jwtVerify(
      token,
      (header) => {
        const key = keys.publicKey(header.kid ?? "");
        if (key === undefined) throw new TypeError("unknown kid");
        return key;
      },
      {
        algorithms: ["ES256"],
        typ: "txntoken+jwt",
        issuer: expected.issuerUrl,
        audience: expected.trustDomain,
        requiredClaims: ["exp"],
        currentDate: new Date(nowMs),
        clockTolerance: 0,
      },
    );
    refuseRevoked(keys, protectedHeader.kid);
    const { sid, txn, scope, tctx } = Payload.parse(payload);
    return {
      sessionId: sid,
      transaction: txn,
      role: scope,
      target: tctx.target,
      method: tctx.method,
      pathSha256: tctx.path_sha256,
    };
  } catch (cause) {
    throw new WayleaveError("credential_invalid", "The assertion is not one this broker signed, or its time is over.", {
      cause,
    });
  }
}
