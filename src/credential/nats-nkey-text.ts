/** Whose key it is: the first character of its public key says so. */
export type NkeyKind = "operator" | "account" | "user" | "server" | "curve";

/** Five bits in front of everything, chosen so that base32 shows them as one letter: O, A, U, N, X. */
const prefixes: Readonly<Record<NkeyKind, number>> = {
  operator: 14 << 3,
  account: 0,
  user: 20 << 3,
  server: 13 << 3,
  curve: 23 << 3,
};
const seedPrefix = 18 << 3; // S

type Form = "public" | "seed";

/**
 * The text of a key's 32 bytes: base32 of the kind's prefix, the key and a CRC-16 of both.
 *
 * @see RFC 4648 §6, without padding
 */
export function encodeNkeyText(kind: NkeyKind, form: Form, key: Uint8Array): string {
  if (key.length !== 32) throw new TypeError("a key is 32 bytes");
  const prefix = prefixes[kind];
  const head = form === "public" ? [prefix] : [seedPrefix | (prefix >> 5), (prefix & 31) << 3];
  const body = Buffer.concat([Buffer.from(head), key]);
  const check = Buffer.alloc(2);
  check.writeUInt16LE(crc16(body));
  return encodeBase32(Buffer.concat([body, check]));
}

/**
 * The bytes of such a text. Throws `TypeError` for another form, an unknown kind, a wrong check sum, and for any spelling but
 * the one `encodeNkeyText` gives: one key has one text.
 */
export function decodeNkeyText(text: string, form: Form): { readonly kind: NkeyKind; readonly bytes: Buffer } {
  const length = form === "public" ? 56 : 58;
  const raw = text.length === length ? decodeBase32(text) : undefined;
  if (raw === undefined) throw new TypeError("not a NATS key: wrong length or letters");
  const body = raw.subarray(0, -2);
  if (crc16(body) !== raw.readUInt16LE(raw.length - 2)) throw new TypeError("not a NATS key: its check sum is wrong");
  const [first = 0, second = 0] = body;
  const prefix = form === "public" ? first : ((first & 7) << 5) | (second >> 3);
  const kind = (Object.keys(prefixes) as NkeyKind[]).find((each) => prefixes[each] === prefix);
  const rightForm = form === "public" || ((first & 0xf8) === seedPrefix && (second & 7) === 0);
  if (kind === undefined || !rightForm) throw new TypeError("not a NATS key of a kind that is used here");
  return { kind, bytes: body.subarray(form === "public" ? 1 : 2) };
}

/** True for a public key of this kind. */
export function isPublicNkey(text: unknown, kind: NkeyKind): text is string {
  if (typeof text !== "string") return false;
  try {
    return decodeNkeyText(text, "public").kind === kind;
  } catch {
    return false; // not a key at all
  }
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

function encodeBase32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    for (bits += 8; bits >= 5; ) {
      bits -= 5;
      text += alphabet[(value >>> bits) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return bits > 0 ? text + alphabet[(value << (5 - bits)) & 31] : text;
}

/** Undefined for a character that is none of the alphabet, and where bits are left over that are not 0. */
function decodeBase32(text: string): Buffer | undefined {
  const bytes = Buffer.alloc(Math.floor((text.length * 5) / 8));
  let at = 0;
  let bits = 0;
  let value = 0;
  for (const letter of text) {
    const five = alphabet.indexOf(letter);
    if (five < 0) return undefined;
    value = (value << 5) | five;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = value >>> bits;
    }
    value &= (1 << bits) - 1;
  }
  return value === 0 ? bytes : undefined;
}

/** CRC-16/XMODEM: polynomial 0x1021, nothing reflected, start 0. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = ((crc << 8) & 0xffff) ^ (crcTable[(crc >>> 8) ^ byte] ?? 0);
  return crc;
}

const crcTable = Uint16Array.from({ length: 256 }, (_, at) => {
  let crc = at << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc;
});
