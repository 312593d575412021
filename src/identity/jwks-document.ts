import type { JWK } from "jose";
import { isObject } from "./strict-json.ts";

/** A public key of a JWKS that may verify signatures. */
export interface VerificationKey {
  /** Public members only. */
  readonly jwk: JWK;
  /** JWS algorithms it may be used with. */
  readonly algorithms: readonly string[];
}

export type JwksDocument =
  | { readonly ok: true; readonly keys: ReadonlyMap<string, VerificationKey> }
  | { readonly ok: false; readonly problem: string };

const maxKeys = 100;
const minRsaBits = 2048;
const maxRsaBits = 16_384; // verifying with a larger one is a way to keep us busy

const rsaAlgorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const curveAlgorithms: Readonly<Record<string, string>> = { "P-256": "ES256", "P-384": "ES384", "P-521": "ES512" };

/**
 * The usable keys of a JWKS by `kid`. A key that cannot be used (symmetric, private, another use, weak, no `kid`, `alg`
 * at odds with `kty`) is left out, so that a token naming it is refused; two different keys under one `kid` are both
 * left out. No usable key at all is a valid document: everything is revoked.
 * @see RFC 7517 §5
 */
export function readJwks(value: unknown): JwksDocument {
  if (!isObject(value) || !Array.isArray(value.keys)) return { ok: false, problem: "is no JWKS (no `keys` list)" };
  const listed: readonly unknown[] = value.keys;
  if (listed.length > maxKeys) {
    return { ok: false, problem: `has ${listed.length} keys, and ${maxKeys} is the most` };
  }
  const keys = new Map<string, VerificationKey>();
  const ambiguous = new Set<string>();
  for (const entry of listed) {
    const kid = isObject(entry) ? entry.kid : undefined;
    if (!isObject(entry) || typeof kid !== "string" || kid === "") continue;
    const key = readKey(entry);
    if (key === undefined) continue;
    const before = keys.get(kid);
    if (before !== undefined && JSON.stringify(before) !== JSON.stringify(key)) ambiguous.add(kid);
    keys.set(kid, key);
  }
  for (const kid of ambiguous) keys.delete(kid);
  return { ok: true, keys };
}

function readKey(entry: Readonly<Record<string, unknown>>): VerificationKey | undefined {
  const { use, key_ops: operations, alg, kty } = entry;
  if (use !== undefined && use !== "sig") return undefined;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify"))) return undefined;
  if ("d" in entry || "k" in entry) return undefined; // private or symmetric: whoever fetched the JWKS could sign
  const key = kty === "RSA" ? readRsaKey(entry) : kty === "EC" ? readCurveKey(entry) : undefined;
  if (key === undefined || alg === undefined) return key;
  return typeof alg === "string" && key.algorithms.includes(alg) ? { ...key, algorithms: [alg] } : undefined;
}

function readRsaKey({ n, e }: Readonly<Record<string, unknown>>): VerificationKey | undefined {
  if (!isBase64url(n) || !isBase64url(e)) return undefined;
  const bits = bitLength(n);
  if (bits < minRsaBits || bits > maxRsaBits) return undefined;
  if (bitLength(e) < 2 || bitLength(e) > 256) return undefined; // with e = 1 every signature verifies
  return { jwk: { kty: "RSA", n, e }, algorithms: rsaAlgorithms };
}

function readCurveKey({ crv, x, y }: Readonly<Record<string, unknown>>): VerificationKey | undefined {
  const algorithm = typeof crv === "string" && Object.hasOwn(curveAlgorithms, crv) ? curveAlgorithms[crv] : undefined;
  if (typeof crv !== "string" || algorithm === undefined || !isBase64url(x) || !isBase64url(y)) return undefined;
  return { jwk: { kty: "EC", crv, x, y }, algorithms: [algorithm] };
}

function isBase64url(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9_-]+$/.test(value);
}

/** Significant bits of a base64url number. */
function bitLength(encoded: string): number {
  const bytes = Buffer.from(encoded, "base64url");
  const first = bytes.findIndex((byte) => byte !== 0);
  return first === -1 ? 0 : (bytes.length - first) * 8 - Math.clz32(bytes[first] ?? 0) + 24;
}
