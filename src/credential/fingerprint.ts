import { createHmac } from "node:crypto";
import { encodeBase32 } from "../core/ids.ts";

/** A keyed fingerprint of a token: `fp_` and 16 characters. Without the key nothing about the token follows from it. */
export function fingerprint(key: Uint8Array, token: string): string {
  return `fp_${encodeBase32(createHmac("sha256", key).update(token).digest().subarray(0, 10))}`;
}
