import { createHash } from "node:crypto";
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from "jose";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";

const Claims = z.object({
  jti: z.string().min(8).max(256),
  htm: z.string(),
  htu: z.string(),
  iat: z.number(),
  ath: z.string().optional(),
});

/** How far a proof's `iat` may be from our clock, either way. */
const windowSeconds = 60;

/** Verifies DPoP proofs and remembers each `jti` for as long as it could be replayed. */
export interface ProofVerifier {
  /**
   * The RFC 7638 thumbprint of the key that signed the proof. With `token`, the proof must name it (`ath`).
   * Throws `proof_invalid`, also for a proof seen before.
   */
  verify(proof: string, request: { method: string; url: string; token?: string }, nowMs: number): Promise<string>;
}

/** @see RFC 9449 §4.3 */
export function createProofVerifier(capacity = 100_000): ProofVerifier {
  const seen = new Map<string, number>();

  const remember = (key: string, nowMs: number): void => {
    for (const [old, until] of seen) {
      if (until > nowMs) break; // insertion order is expiry order
      seen.delete(old);
    }
    if (seen.has(key)) throw refuse("this proof was used before; make a new one for each request");
    if (seen.size >= capacity) throw refuse("too many proofs at once; retry in a minute");
    seen.set(key, nowMs + 2 * windowSeconds * 1000);
  };

  return {
    async verify(proof, request, nowMs) {
      if (proof.length > 4096) throw refuse("it is longer than 4096 characters");
      const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
        algorithms: ["ES256"],
        typ: "dpop+jwt",
        currentDate: new Date(nowMs),
      }).catch((cause: unknown) => {
        throw refuse("it is not an ES256 dpop+jwt signed by its own jwk", cause);
      });
      const claims = Claims.safeParse(payload);
      if (!claims.success) throw refuse("jti, htm, htu and iat are required");
      const { jti, htm, htu, iat, ath } = claims.data;
      if (htm !== request.method) throw refuse(`htm must be ${request.method}`);
      if (htu !== request.url) throw refuse(`htu must be ${request.url}: the broker's issuer URL and the path`);
      if (Math.abs(nowMs / 1000 - iat) > windowSeconds)
        throw refuse(`iat is more than ${windowSeconds} s off; check the job's clock`);
      if (request.token !== undefined && ath !== createHash("sha256").update(request.token).digest("base64url")) {
        throw refuse("ath does not name the presented token");
      }
      const { jwk } = protectedHeader;
      if (jwk === undefined) throw refuse("it carries no jwk");
      const thumbprint = await calculateJwkThumbprint(jwk);
      remember(`${thumbprint} ${jti}`, nowMs);
      return thumbprint;
    },
  };
}

function refuse(why: string, cause?: unknown): WayleaveError {
  return new WayleaveError("proof_invalid", `The DPoP proof is refused: ${why}.`, { cause });
}
