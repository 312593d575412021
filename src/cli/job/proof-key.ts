import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";

/** What a proof is for. */
export interface ProofRequest {
  readonly method: string;
  /** As its receiver knows it, without query. */
  readonly url: string;
  readonly nowMs: number;
  /** The token that goes with it. */
  readonly token?: string | undefined;
  /** What the receiver last handed out. */
  readonly nonce?: string | undefined;
}

/** The key a session is bound to, made in the job. It never leaves the 0600 handle. */
export interface ProofKey {
  /** Private JWK, for the handle only. */
  readonly jwk: JsonWebKey;
  /** A DPoP proof for one request. @see RFC 9449 §4.2 */
  proof(request: ProofRequest): string;
}

export function createProofKey(): ProofKey {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return proofKey(privateKey);
}

/** The key of a handle. Throws where the JWK is no P-256 private key. */
export function importProofKey(jwk: JsonWebKey): ProofKey {
  return proofKey(createPrivateKey({ key: jwk, format: "jwk" }));
}

function proofKey(key: KeyObject): ProofKey {
  const jwk = key.export({ format: "jwk" });
  const { kty, crv, x, y } = jwk;
  const header = encode({ typ: "dpop+jwt", alg: "ES256", jwk: { kty, crv, x, y } });
  return {
    jwk,
    proof({ method, url, nowMs, token, nonce }) {
      const claims = {
        jti: randomBytes(16).toString("base64url"),
        htm: method,
        htu: url,
        iat: Math.floor(nowMs / 1000),
        ...(token === undefined ? {} : { ath: createHash("sha256").update(token).digest("base64url") }),
        ...(nonce === undefined ? {} : { nonce }),
      };
      const input = `${header}.${encode(claims)}`;
      const signature = sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" });
      return `${input}.${signature.toString("base64url")}`;
    },
  };
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
