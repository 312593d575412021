import { SignJWT } from "jose";
import type { KeyRing } from "./keys.ts";

/** What a JWT-SVID says. Times are ms since the epoch. */
export interface JwtSvidInput {
  readonly spiffeId: string;
  /** Whom it is for; the caller has judged them. */
  readonly audience: readonly string[];
  readonly sessionId: string;
  readonly jti: string;
  readonly now: number;
  /** The caller keeps this at or before the session's hard end. */
  readonly expiresAt: number;
}

/**
 * A JWT-SVID: ES256, header `alg`, `kid` and `typ: JWT` only, so that it never passes for an access token or an assertion.
 * Not checked here: that its record is durable; the caller hands it out only then.
 *
 * @see JWT-SVID §§2-3
 */
export async function mintJwtSvid(
  keys: KeyRing,
  input: JwtSvidInput,
): Promise<{ readonly token: string; readonly kid: string }> {
  const { kid, privateKey } = keys;
  const token = await new SignJWT({ sid: input.sessionId })
    .setProtectedHeader({ alg: "ES256", kid, typ: "JWT" })
    .setSubject(input.spiffeId)
    .setAudience([...input.audience])
    .setIssuedAt(Math.floor(input.now / 1000))
    .setExpirationTime(Math.floor(input.expiresAt / 1000))
    .setJti(input.jti)
    .sign(privateKey);
  return { token, kid };
}
