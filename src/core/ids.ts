/** Crockford base 32, lower case: no i, l, o, u, so that an id survives being read aloud. */
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";

/** `byteCount * 8 / 5` characters of Crockford base 32 from random bytes. */
export function encodeBase32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += alphabet[(value >>> bits) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return bits > 0 ? text + alphabet[(value << (5 - bits)) & 31] : text;
}

/** Fixed-width Crockford base 32 of a whole number, so that ids sort as their numbers do. */
export function encodeNumber(value: number, width: number): string {
  let text = "";
  for (let rest = value; rest > 0; rest = Math.floor(rest / 32)) text = alphabet[rest % 32] + text;
  return text.padStart(width, "0");
}

/** The session id for ten random bytes: `ses_` and 16 characters. */
export function sessionId(random: Uint8Array): string {
  return `ses_${encodeBase32(random)}`;
}

export const sessionIdPattern = /^ses_[0-9a-hjkmnp-tv-z]{16}$/;
export const recordIdPattern = /^rec_[0-9a-hjkmnp-tv-z]{12}$/;
