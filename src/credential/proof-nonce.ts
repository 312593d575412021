import { createHmac, timingSafeEqual } from "node:crypto";

/** Nonces that proofs of possession must carry, so that none can be made ahead of its time. Nothing is kept of them. */
export interface ProofNonces {
  /** The nonce to hand out. */
  current(nowMs: number): string;
  /** True for one that was handed out here within the last two windows. */
  accepts(nonce: string, nowMs: number): boolean;
}

/** A nonce is handed out for so long, and accepted for as long again: as often as a token of usual life is renewed. */
const windowMs = 150_000;

/**
 * Nonces by the clock: a MAC over the window that they belong to. With a key of the process's own they end with the process,
 * and with them whatever it remembered of proofs that were used.
 *
 * @see RFC 9449 §8
 */
export function createProofNonces(key: Uint8Array): ProofNonces {
  const nonceOf = (window: number): Buffer => {
    const at = Buffer.alloc(8);
    at.writeBigInt64BE(BigInt(window));
    return Buffer.from(createHmac("sha256", key).update(at).digest().subarray(0, 18).toString("base64url"));
  };
  return {
    current: (nowMs) => nonceOf(Math.floor(nowMs / windowMs)).toString(),
    accepts(nonce, nowMs) {
      const window = Math.floor(nowMs / windowMs);
      const presented = Buffer.from(nonce);
      return [window, window - 1].some((each) => {
        const known = nonceOf(each);
        return known.length === presented.length && timingSafeEqual(known, presented);
      });
    },
  };
}
