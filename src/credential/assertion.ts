import { createHash } from "node:crypto";
import { SignJWT } from "jose";
import type { KeyRing } from "./keys.ts";

/** What an assertion says of one request. Times are ms since the epoch. */
export interface AssertionInput {
  readonly issuerUrl: string;
  readonly trustDomain: string;
  readonly subject: string;
  readonly sessionId: string;
  /** Unique for this request. */
  readonly transaction: string;
  readonly role: string;
  readonly gateway: string;
  readonly target: string;
  readonly method: string;
  /** Raw request path without query, as the gateway sends it on. */
  readonly path: string;
  readonly now: number;
  readonly hardEndAt: number;
}

const lifetimeMs = 30_000;

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
  const expiresAt = Math.min(input.now + lifetimeMs, input.hardEndAt);
  return new SignJWT({
    txn: input.transaction,
    scope: input.role,
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
