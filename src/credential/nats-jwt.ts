import { createHash } from "node:crypto";
import type { NatsClaims } from "./nats-claims.ts";
import { type Nkey, verifyNkey } from "./nats-nkey.ts";

/** What a NATS JWT says once it is signed. */
export interface SignedNatsClaims extends NatsClaims {
  /** Public key of who signed. */
  readonly iss: string;
  /** NumericDate. */
  readonly iat: number;
  readonly jti: string;
}

export interface DecodedNatsJwt {
  readonly header: { readonly typ: string; readonly alg: string };
  readonly claims: SignedNatsClaims;
}

const header = Buffer.from('{"typ":"JWT","alg":"ed25519-nkey"}').toString("base64url");

/**
 * The claims as a NATS JWT of version 2, signed. `now` is ms since the epoch. The `jti` is the SHA-512 of everything else in
 * it: a resolver takes two tokens with one `jti` for the same.
 */
export function encodeNatsJwt(claims: NatsClaims, signer: Nkey, now: number): string {
  const said = { ...claims, iss: signer.publicKey, iat: Math.floor(now / 1000) };
  const whole = { ...said, nats: { ...claims.nats, version: 2 } };
  const jti = createHash("sha512").update(JSON.stringify(whole)).digest("base64");
  const input = `${header}.${Buffer.from(JSON.stringify({ ...whole, jti })).toString("base64url")}`;
  return `${input}.${signer.sign(Buffer.from(input)).toString("base64url")}`;
}

/** Longest token that is read: an account with its signing keys and limits is far below. */
const maxLength = 1_048_576;

/**
 * What a NATS JWT says, its signature verified against its own `iss`. Not checked: who may be that issuer, the audience, any
 * time, and what `nats` holds beyond its type. Throws `TypeError` for anything else than a token of version 2.
 */
export function decodeNatsJwt(token: string): DecodedNatsJwt {
  if (token.length > maxLength) throw new TypeError("not a NATS JWT: too long");
  const [head = "", body = "", mac = "", ...more] = token.split(".");
  if (more.length > 0) throw new TypeError("not a NATS JWT: more than three parts");
  const said = parsePart(head);
  const { typ, alg } = said;
  if (typ !== "JWT" || alg !== "ed25519-nkey") throw new TypeError("not a NATS JWT of version 2");
  const claims = parsePart(body);
  if (!isSigned(claims)) throw new TypeError("not a NATS JWT: a claim is missing or of the wrong type");
  if (!verifyNkey(claims.iss, Buffer.from(`${head}.${body}`), base64url(mac)))
    throw new TypeError("the signature of the NATS JWT is not its issuer's");
  return { header: { typ, alg }, claims };
}

/**
 * `exp` of a token nobody has verified, as ms since the epoch: only good for throwing it away. Undefined where it says none.
 */
export function unverifiedExpiry(token: string): number | undefined {
  try {
    const { exp } = parsePart(token.split(".", 2)[1] ?? "");
    return typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    return undefined; // the signature check that follows refuses it
  }
}

function parsePart(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(base64url(text)));
  } catch {
    throw new TypeError("not a NATS JWT: a part is not JSON"); // the parser's own words would quote it
  }
  if (!isObject(value)) throw new TypeError("not a NATS JWT: a part is not an object");
  return value;
}

/** Throws for padding, other letters, and bits left over. */
function base64url(text: string): Buffer {
  const bytes = Buffer.from(text, "base64url");
  if (bytes.toString("base64url") !== text) throw new TypeError("not a NATS JWT: not base64url");
  return bytes;
}

function isSigned(
  claims: Readonly<Record<string, unknown>>,
): claims is Readonly<Record<string, unknown>> & SignedNatsClaims {
  const { iss, sub, iat, jti, exp, nbf, aud, name, nats } = claims;
  return (
    [iss, sub, jti].every((text) => typeof text === "string" && text !== "") &&
    Number.isSafeInteger(iat) &&
    [exp, nbf].every((time) => time === undefined || Number.isSafeInteger(time)) &&
    [aud, name].every((text) => text === undefined || typeof text === "string") &&
    isObject(nats) &&
    typeof nats.type === "string" &&
    nats.version === 2
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
