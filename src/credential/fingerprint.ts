import { createHmac, hkdfSync } from "node:crypto";
import { encodeBase32 } from "../core/ids.ts";

/** A keyed fingerprint of a token: `fp_` and 16 characters. Without the key nothing about the token follows from it. */
export function fingerprint(key: Uint8Array, token: string): string {
  return `fp_${encodeBase32(createHmac("sha256", key).update(token).digest().subarray(0, 10))}`;
}

/** The key of all fingerprints, derived from the operator's 32-byte key. @see RFC 5869 */
export function fingerprintKey(operatorKey: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", operatorKey, "", "wayleave token fingerprint v1", 32));
}
