import { createHash } from "node:crypto";
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from "jose";
import { z } from "zod";
import { type ErrorCode, WayleaveError } from "../core/errors.ts";
import type { ProofNonces } from "./proof-nonce.ts";

const Claims = z.object({
  jti: z.string().min(8).max(256),
  htm: z.string(),
  htu: z.string(),
  iat: z.number(),
  ath: z.string().optional(),
  nonce: z.string().max(256).optional(),
});

/** How far a proof's `iat` may be from our clock, either way. */
const windowSeconds = 60;

/** What a proof must have been made for. */
export interface ProvenRequest {
  readonly method: string;
  /** What `htu` must be, or whether it names what is asked for. */
  readonly url: string | ((htu: string) => boolean);
  /** The proof must name it (`ath`). */
  readonly token?: string;
}

/** Verifies DPoP proofs and remembers each `jti` for as long as it could be replayed. */
export interface ProofVerifier {
  /**
   * The RFC 7638 thumbprint of the key that signed the proof. Throws `proof_invalid`, `proof_replayed` for a proof seen
   * before, and where nonces are asked for `proof_nonce_required` without one and `proof_nonce_stale` with another.
   * `accept`, given the thumbprint, says whose proofs are remembered: it throws for a key that is not the caller's.
   */
  verify(proof: string, request: ProvenRequest, nowMs: number, accept?: (thumbprint: string) => void): Promise<string>;
}

export interface ProofVerifierOptions {
  /** Absent: proofs need none. */
  readonly nonces?: ProofNonces;
  /** Proofs made before this, ms since the epoch, are refused: a process before this one may have seen them. */
  readonly since?: number;
  /** How many proofs are remembered; past that every other is refused until some are too old to matter. */
  readonly capacity?: number;
}

/** @see RFC 9449 §4.3 */
export function createProofVerifier(options: ProofVerifierOptions = {}): ProofVerifier {
  const { nonces, since = 0, capacity = 100_000 } = options;
  const seen = new Map<string, number>();
  /** Every proof that was forgotten has an `iat` of at most this, ms since the epoch. */
  let forgottenMs = 0;

  const remember = (key: string, iatMs: number, nowMs: number): void => {
    for (const [old, until] of seen) {
      if (until > nowMs) break; // insertion order is expiry order
      seen.delete(old);
      forgottenMs = Math.max(forgottenMs, until - windowSeconds * 1000);
    }
    if (seen.has(key)) {
      throw new WayleaveError("proof_replayed", "This DPoP proof was used before; make a new one for each request.");
    }
    // A clock that went forward and back would make proofs good again that were forgotten in between.
    if (iatMs <= forgottenMs) throw refuse("it was made before what is remembered of others; make a new one");
    if (seen.size >= capacity) throw refuse("too many proofs at once; retry in a minute");
    seen.set(key, nowMs + 2 * windowSeconds * 1000);
  };

  return {
    async verify(proof, request, nowMs, accept) {
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
      const { jti, iat, nonce } = claims.data;
      refuseOtherRequest(claims.data, request);
      if (Math.abs(nowMs / 1000 - iat) > windowSeconds)
        throw refuse(`iat is more than ${windowSeconds} s off; check the job's clock`);
      // Whole seconds, rounded down, as clients write them.
      if ((iat + 1) * 1000 <= since) throw refuse("it was made before the broker started; make a new one");
      const { jwk } = protectedHeader;
      if (jwk === undefined) throw refuse("it carries no jwk");
      if (nonces !== undefined) refuseNonce(nonces, nonce, nowMs);
      const thumbprint = await calculateJwkThumbprint(jwk);
      accept?.(thumbprint);
      remember(`${thumbprint} ${jti}`, iat * 1000, nowMs);
      return thumbprint;
    },
  };
}

function refuseOtherRequest({ htm, htu, ath }: z.infer<typeof Claims>, { method, url, token }: ProvenRequest): void {
  if (htm !== method) throw refuse(`htm must be ${method}`);
  if (typeof url === "string") {
    if (htu !== url) throw refuse(`htu must be ${url}: the broker's issuer URL and the path`);
  } else if (!url(htu)) {
    throw refuse("htu must be the URL of this request as the gateway saw it, without query");
  }
  if (token !== undefined && ath !== createHash("sha256").update(token).digest("base64url")) {
    throw refuse("ath does not name the presented token");
  }
}

function refuseNonce(nonces: ProofNonces, nonce: string | undefined, nowMs: number): void {
  if (nonce === undefined) {
    throw new WayleaveError(
      "proof_nonce_required",
      "The DPoP proof carries no nonce; make it again with the one in the DPoP-Nonce header.",
    );
  }
  if (nonces.accepts(nonce, nowMs)) return;
  throw new WayleaveError(
    "proof_nonce_stale",
    "The DPoP proof's nonce is too old, or not ours; make it again with the one in the DPoP-Nonce header.",
  );
}

/** Codes that only another proof can mend. */
const proofCodes: ReadonlySet<ErrorCode> = new Set([
  "proof_required",
  "proof_invalid",
  "proof_replayed",
  "proof_nonce_required",
  "proof_nonce_stale",
] satisfies ErrorCode[]);

/** True for a refusal of a proof, or of having none. */
export function isProofRefusal({ code }: WayleaveError): boolean {
  return proofCodes.has(code);
}

function refuse(why: string, cause?: unknown): WayleaveError {
  return new WayleaveError("proof_invalid", `The DPoP proof is refused: ${why}.`, { cause });
}
