import type { FastifyRequest } from "fastify";
import { WayleaveError } from "../core/errors.ts";

export interface ProofDeps {
  /** The broker's public URL, without trailing slash: what `htu` starts with. */
  readonly issuerUrl: string;
  /** Thumbprint of the proof's key. Throws `proof_invalid`, `proof_replayed`, `proof_nonce_required`, `proof_nonce_stale`. */
  proof(proof: string, request: { method: string; url: string; token?: string }): Promise<string>;
}

/** Thumbprint of the key in the request's `DPoP` header, or undefined without one. Throws as `proof` does. @see RFC 9449 §4.3 */
export async function jktOf(deps: ProofDeps, request: FastifyRequest, token?: string): Promise<string | undefined> {
  const { dpop } = request.headers;
  if (dpop === undefined) return undefined;
  // Node joins repeated headers it does not know with a comma, which no compact JWS holds.
  if (Array.isArray(dpop) || dpop.includes(",")) {
    throw new WayleaveError("proof_invalid", "Send exactly one DPoP header.");
  }
  const [path] = request.url.split("?", 1);
  const bound = token === undefined ? {} : { token };
  return deps.proof(dpop, { method: request.method, url: deps.issuerUrl + path, ...bound });
}
