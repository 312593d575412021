import { generateKeyPairSync } from "node:crypto";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import {
  CompactEncrypt,
  type CryptoKey,
  calculateJwkThumbprint,
  compactDecrypt,
  exportJWK,
  importJWK,
  type JWK,
} from "jose";
import { WayleaveError } from "../core/errors.ts";

/** What a key signs. Each class has its own keys, its own JWKS and audiences of its own. */
export type KeyClass = "access-token" | "assertion";

/** The ES256 keys of one class. */
export interface KeyRing {
  readonly class: KeyClass;
  /** The key that signs now. */
  readonly kid: string;
  readonly privateKey: CryptoKey;
  /** The public key of a live kid, or undefined. */
  publicKey(kid: string): CryptoKey | undefined;
  /** RFC 7517 key set of all live public keys. */
  readonly jwks: { readonly keys: readonly JWK[] };
}

/**
 * The key ring of a class, decrypted from `<dir>/<class>.jwe`, or made there on first use. At rest it is a JWE
 * (`dir`, A256GCM) under the operator's 32-byte key; the class is bound in as header, so files cannot be swapped.
 *
 * Throws `key_unavailable` where the file cannot be decrypted or is damaged: keys are never replaced silently.
 *
 * @see RFC 7516, RFC 7518 §4.5
 */
export async function openKeyRing(
  dir: string,
  keyClass: KeyClass,
  encryptionKey: Uint8Array,
): Promise<{ ring: KeyRing; created: boolean }> {
  const path = join(dir, `${keyClass}.jwe`);
  const sealed = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return undefined;
    throw new WayleaveError("key_unavailable", `Cannot read ${path}; check its owner and mode.`, { cause });
  });
  if (sealed !== undefined)
    return { ring: await toRing(keyClass, await unseal(path, keyClass, sealed, encryptionKey)), created: false };
  const jwk = await generate();
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await writeDurably(dir, path, await seal(keyClass, [jwk], encryptionKey));
  return { ring: await toRing(keyClass, [jwk]), created: true };
}

async function generate(): Promise<JWK> {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwk = await exportJWK(privateKey);
  return { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: "ES256", use: "sig" };
}

async function seal(keyClass: KeyClass, keys: readonly JWK[], encryptionKey: Uint8Array): Promise<string> {
  return new CompactEncrypt(new TextEncoder().encode(JSON.stringify({ keys })))
    .setProtectedHeader({ alg: "dir", enc: "A256GCM", typ: `wayleave-keys+${keyClass}` })
    .encrypt(encryptionKey);
}

async function unseal(path: string, keyClass: KeyClass, sealed: string, encryptionKey: Uint8Array): Promise<JWK[]> {
  try {
    const { plaintext, protectedHeader } = await compactDecrypt(sealed.trim(), encryptionKey, {
      keyManagementAlgorithms: ["dir"],
      contentEncryptionAlgorithms: ["A256GCM"],
    });
    if (protectedHeader.typ !== `wayleave-keys+${keyClass}`) throw new TypeError("keys of another class");
    return (JSON.parse(new TextDecoder().decode(plaintext)) as { keys: JWK[] }).keys;
  } catch (cause) {
    throw new WayleaveError(
      "key_unavailable",
      `Cannot decrypt ${path}; keys.encryption_key_file must hold the key it was written with.`,
      { cause },
    );
  }
}

async function toRing(keyClass: KeyClass, keys: readonly JWK[]): Promise<KeyRing> {
  const current = keys.at(-1);
  if (current?.kid === undefined) throw new WayleaveError("key_unavailable", `No ${keyClass} key in the key file.`);
  const publicKeys = new Map<string, CryptoKey>();
  const jwks = keys.map(({ d: _private, ...jwk }) => jwk);
  for (const jwk of jwks) publicKeys.set(jwk.kid ?? "", (await importJWK(jwk, "ES256")) as CryptoKey);
  return {
    class: keyClass,
    kid: current.kid,
    privateKey: (await importJWK(current, "ES256")) as CryptoKey,
    publicKey: (kid) => publicKeys.get(kid),
    jwks: { keys: jwks },
  };
}

/** Write to a temporary name, sync, rename, sync the folder: after a crash there is the old file or the new one. */
async function writeDurably(dir: string, path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const folder = await open(dir, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
