import { createPublicKey, type KeyObject } from "node:crypto";
import { readDer } from "./svid-der.ts";

/** A public key that a certificate may carry, or why not, as the end of a sentence. */
export type PublicKeyVerdict =
  | { readonly ok: true; readonly key: KeyObject; readonly type: "ec" | "rsa" }
  | { readonly ok: false; readonly problem: string };

const minRsaBits = 2048;
const maxRsaBits = 4096; // checking a larger one is a way to keep us busy

/**
 * AlgorithmIdentifier, in hex. Compared as bytes: a curve may also be spelled out as numbers, which libraries take for
 * the curve they resemble, and one with another generator lets somebody sign for a key that is not theirs (CVE-2020-0601).
 */
const rsa = "300d06092a864886f70d0101010500";
const pointBytes: Readonly<Record<string, number>> = {
  "301306072a8648ce3d020106082a8648ce3d030107": 65, // P-256
  "301006072a8648ce3d020106052b81040022": 97, // P-384
};

/**
 * Judges a SubjectPublicKeyInfo: P-256 or P-384, named and uncompressed, or RSA of 2048 to 4096 bits with exponent 65537.
 * Not checked: whether the RSA modulus has small or known factors.
 */
export function judgePublicKey(spki: Uint8Array): PublicKeyVerdict {
  let key: KeyObject;
  let form: { readonly algorithm: string; readonly size: number; readonly first: number | undefined };
  try {
    form = formOf(spki);
    key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch {
    return refused("holds no public key that can be used");
  }
  const { modulusLength = 0, publicExponent } = key.asymmetricKeyDetails ?? {};
  if (form.algorithm === rsa) {
    if (modulusLength < minRsaBits) return refused(`has an RSA key of only ${modulusLength} bits`);
    if (modulusLength > maxRsaBits) return refused(`has an RSA key of ${modulusLength} bits; 4096 is the most`);
    return publicExponent === 65537n
      ? { ok: true, key, type: "rsa" }
      : refused("has an RSA key whose exponent is not 65537");
  }
  const size = pointBytes[form.algorithm];
  if (key.asymmetricKeyType !== "ec") return refused(`has a key of type ${key.asymmetricKeyType ?? "unknown"}`);
  if (size === undefined) return refused(`has a key on a curve other than P-256 and P-384, or one that is not named`);
  if (form.size !== size || form.first !== 4) return refused("has a compressed public key; send it uncompressed");
  return { ok: true, key, type: "ec" };
}

/** @see RFC 5280 §4.1.2.7 */
function formOf(spki: Uint8Array) {
  const [algorithm, bits, ...more] = readDer(spki).parts;
  if (algorithm === undefined || bits === undefined || more.length > 0 || bits.content[0] !== 0)
    throw new TypeError("no SubjectPublicKeyInfo");
  return {
    algorithm: Buffer.from(algorithm.bytes).toString("hex"),
    size: bits.content.length - 1,
    first: bits.content[1],
  };
}

function refused(problem: string): PublicKeyVerdict {
  return { ok: false, problem };
}
