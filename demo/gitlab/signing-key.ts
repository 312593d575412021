import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";

/** An RS256 key pair that can be replaced, and the public half as a JWKS wants it. */
export interface SigningKey {
  /** The live public key: `kid`, `use: "sig"`, `alg: "RS256"`. */
  readonly jwk: JWK;
  /** A compact JWS with the live key; the header holds `alg`, `kid` and, unless left out, `typ: "JWT"`. */
  sign(claims: Readonly<Record<string, unknown>>): Promise<string>;
  /** Forgets the key and makes another. What the old one signed can no longer be verified. */
  rotate(): Promise<void>;
}

export interface SigningKeyOptions {
  /** `false` where the real issuer sends no `typ` header. */
  readonly typ?: boolean;
  /** How the `kid` is made from the thumbprint (base64url, RFC 7638); the thumbprint itself when absent. */
  readonly kid?: (thumbprint: string) => string;
}

/** Makes a 2048-bit RSA signing key. */
export async function createSigningKey(options: SigningKeyOptions = {}): Promise<SigningKey> {
  let live = await newPair(options);
  return {
    get jwk() {
      return live.jwk;
    },
    sign: (claims) => new SignJWT(claims).setProtectedHeader(live.header).sign(live.privateKey),
    rotate: async () => {
      live = await newPair(options);
    },
  };
}

async function newPair(options: SigningKeyOptions) {
  const { publicKey, privateKey } = await generateKeyPair("RS256", { modulusLength: 2048 });
  const jwk = await exportJWK(publicKey);
  const thumbprint = await calculateJwkThumbprint(jwk);
  const kid = options.kid?.(thumbprint) ?? thumbprint;
  const header = { alg: "RS256", kid, ...(options.typ === false ? {} : { typ: "JWT" }) };
  return { privateKey, header, jwk: { ...jwk, kid, use: "sig", alg: "RS256" } };
}
