import { createPublicKey, type JsonWebKey, type KeyObject, X509Certificate } from "node:crypto";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";

/** A trust domain's bundle: what SVIDs of it are verified with. */
export interface TrustBundle {
  readonly trustDomain: string;
  readonly sequence?: number;
  readonly refreshSeconds: number;
  /** CA certificates, DER. */
  readonly roots: readonly Uint8Array[];
  /** Public keys of JWT-SVIDs by `kid`. */
  readonly jwtKeys: ReadonlyMap<string, JwtKey>;
  /** The document as it is given on. */
  readonly document: BundleDocument;
}

export interface JwtKey {
  readonly key: KeyObject;
  /** JWS algorithms it may verify. */
  readonly algorithms: readonly string[];
}

/** @see SPIFFE Trust Domain and Bundle §4 */
export interface BundleDocument {
  readonly keys: readonly Readonly<Record<string, unknown>>[];
  readonly spiffe_sequence?: number;
  readonly spiffe_refresh_hint?: number;
}

const maxKeys = 100;
const defaultRefreshSeconds = 300;

const Document = z.looseObject({
  keys: z.array(z.looseObject({ kty: z.string(), use: z.string().optional() })).max(maxKeys),
  spiffe_sequence: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).optional(),
  spiffe_refresh_hint: z.number().int().nonnegative().optional(),
});

/**
 * Reads a SPIFFE bundle document. Keys of an unknown use or type are left out, as the specification says; a key of a known
 * use that cannot be what it says makes the whole document `bundle_invalid`, so that a damaged bundle never passes for a
 * smaller one. No key at all is valid: everything is revoked. Not checked: where the document came from.
 *
 * @see SPIFFE Trust Domain and Bundle §4.2
 */
export function parseTrustBundle(trustDomain: string, text: string): TrustBundle {
  const document = Document.safeParse(parseJson(trustDomain, text));
  if (!document.success) throw invalid(trustDomain, "is no SPIFFE bundle (a JSON object with `keys`)");
  const { keys, spiffe_sequence, spiffe_refresh_hint } = document.data;
  const roots: Uint8Array[] = [];
  const jwtKeys = new Map<string, JwtKey>();
  const kept: Record<string, unknown>[] = [];
  for (const entry of keys) {
    if ("d" in entry || "k" in entry) throw invalid(trustDomain, "holds a private or symmetric key");
    if (entry.use === "x509-svid") roots.push(readRoot(trustDomain, entry));
    else if (entry.use === "jwt-svid" && isKnownType(entry.kty)) addJwtKey(trustDomain, entry, jwtKeys);
    else continue;
    kept.push(entry);
  }
  return {
    trustDomain,
    roots,
    jwtKeys,
    refreshSeconds: spiffe_refresh_hint || defaultRefreshSeconds,
    ...(spiffe_sequence === undefined ? {} : { sequence: spiffe_sequence }),
    document: {
      keys: kept,
      ...(spiffe_sequence === undefined ? {} : { spiffe_sequence }),
      ...(spiffe_refresh_hint === undefined ? {} : { spiffe_refresh_hint }),
    },
  };
}

function parseJson(trustDomain: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(trustDomain, "is not JSON", cause);
  }
}

function readRoot(trustDomain: string, { x5c }: Readonly<Record<string, unknown>>): Uint8Array {
  const [only, ...more] = Array.isArray(x5c) ? x5c : [];
  if (typeof only !== "string" || more.length > 0)
    throw invalid(trustDomain, "has an x509-svid key without exactly one certificate in x5c");
  try {
    const certificate = new X509Certificate(Buffer.from(only, "base64"));
    if (certificate.ca && certificate.raw.toString("base64") === only) return new Uint8Array(certificate.raw);
  } catch {
    // said below
  }
  throw invalid(trustDomain, "has an x509-svid key whose certificate is damaged or no CA");
}

const isKnownType = (kty: string) => kty === "EC" || kty === "RSA";

const curveAlgorithms: Readonly<Record<string, string>> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};
const rsaAlgorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const minRsaBits = 2048;
const maxRsaBits = 16_384;

function addJwtKey(trustDomain: string, entry: Readonly<Record<string, unknown>>, keys: Map<string, JwtKey>): void {
  const { kid } = entry;
  if (typeof kid !== "string" || kid === "") throw invalid(trustDomain, "has a jwt-svid key without kid");
  if (keys.has(kid)) throw invalid(trustDomain, "has two jwt-svid keys of one kid");
  let key: KeyObject;
  try {
    key = createPublicKey({ key: entry as JsonWebKey, format: "jwk" });
  } catch (cause) {
    throw invalid(trustDomain, "has a jwt-svid key that is damaged", cause);
  }
  const { namedCurve = "", modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  const strong =
    modulusLength >= minRsaBits && modulusLength <= maxRsaBits && publicExponent > 1n && publicExponent < 2n ** 33n;
  const curve = curveAlgorithms[namedCurve];
  const algorithms =
    key.asymmetricKeyType === "rsa" ? (strong ? rsaAlgorithms : []) : curve === undefined ? [] : [curve];
  if (algorithms.length === 0) throw invalid(trustDomain, "has a jwt-svid key that is too weak or on an unknown curve");
  keys.set(kid, { key, algorithms });
}

/** A CA certificate as an entry of a bundle; throws for what is none. */
export function rootEntry(der: Uint8Array): Readonly<Record<string, unknown>> {
  const certificate = new X509Certificate(Buffer.from(der));
  const jwk = certificate.publicKey.export({ format: "jwk" });
  return { ...jwk, use: "x509-svid", x5c: [certificate.raw.toString("base64")] };
}

/** A public key of JWT-SVIDs as an entry of a bundle. */
export function jwtEntry({
  kid,
  kty,
  crv,
  x,
  y,
}: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return { kid, kty, crv, x, y, use: "jwt-svid" };
}

function invalid(trustDomain: string, problem: string, cause?: unknown): WayleaveError {
  return new WayleaveError(
    "bundle_invalid",
    `The trust bundle of ${trustDomain} ${problem}; ask its owner for a new one.`,
    {
      cause,
    },
  );
}
