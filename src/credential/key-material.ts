import { generateKeyPairSync } from "node:crypto";
import { type CryptoKey, calculateJwkThumbprint, exportJWK, importJWK, type JWK } from "jose";
import { WayleaveError } from "../core/errors.ts";

/** A key pair ready for use. */
export interface KeyMaterial {
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  /** As the JWKS publishes it. */
  readonly published: JWK;
}

/** A new ES256 private key; its `kid` is its RFC 7638 thumbprint. */
export async function generateKey(): Promise<JWK & { readonly kid: string }> {
  for (;;) {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const jwk = await exportJWK(privateKey);
    const kid = await calculateJwkThumbprint(jwk);
    // A kid is pasted into commands, where a leading hyphen would be an option.
    if (!kid.startsWith("-")) return { ...jwk, kid, alg: "ES256", use: "sig" };
  }
}

/** Throws `key_unavailable` for what is no ES256 private key. */
export async function importKey(jwk: JWK): Promise<KeyMaterial> {
  const { d: _private, ...published } = jwk;
  try {
    return {
      privateKey: (await importJWK(jwk, "ES256")) as CryptoKey,
      publicKey: (await importJWK(published, "ES256")) as CryptoKey,
      published,
    };
  } catch (cause) {
    throw new WayleaveError("key_unavailable", `The key file holds a key that cannot be used (kid ${jwk.kid}).`, {
      cause,
    });
  }
}
