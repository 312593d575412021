/**
 * Subjects as the gateway takes them: printable ASCII, no empty token, wildcards only as whole tokens of a subscription.
 * nats-server takes more (UTF-8, `a..b`, `a*b` as plain text); what both could read differently is refused.
 */

/** Longest subject, in characters: policy decides no longer one. */
const maxSubjectLength = 1024;

const none = 0;
const plain = 1;
const dot = 2;
const wildcard = 3;

/** What each byte may be in a subject. */
const kinds = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte <= 0x20 || byte >= 0x7f) return none;
  if (byte === 0x2e) return dot;
  return byte === 0x2a || byte === 0x3e ? wildcard : plain;
});

const space = 0x20;

/** Whether a message may be published on it, or answered on it. */
export function isLiteralSubject(text: string): boolean {
  return isSubject(text) && !/[*>]/.test(text);
}

/** Whether it may be subscribed to: as a literal one, with `*` for one token and `>` for all that follow. */
export function isSubscriptionSubject(text: string): boolean {
  if (!isSubject(text)) return false;
  const tokens = text.split(".");
  return tokens.every(
    (token, at) => token === "*" || (token === ">" && at === tokens.length - 1) || !/[*>]/.test(token),
  );
}

function isSubject(text: string): boolean {
  return text.length <= maxSubjectLength && /^[!-~]+$/.test(text) && !`.${text}.`.includes("..");
}

/** Texts remembered: the next ones with the same hash replace them. A power of two. */
const places = 64;

/**
 * Words of a line as strings. The one read before is given again without making a string of it anew: a connection repeats
 * a few subjects. Reading ends at a space or at the end of the line; `end` says where.
 */
export class WordTable {
  end = 0;
  readonly #texts = new Array<string | undefined>(places);

  /** A subject without wildcards; empty where it is none. */
  literal(buffer: Buffer, start: number, end: number): string {
    let hash = 0;
    let at = start;
    let before = dot;
    for (; at < end; at++) {
      const byte = buffer[at] as number;
      const kind = kinds[byte] as number;
      if (kind !== plain && (kind !== dot || before === dot)) break;
      before = kind;
      hash = (Math.imul(hash, 31) + byte) | 0;
    }
    this.end = at;
    if (before === dot || at - start > maxSubjectLength || (at < end && buffer[at] !== space)) return "";
    return this.#text(buffer, start, hash);
  }

  /** Whatever stands between two spaces: no control character, and UTF-8 where it is not ASCII; empty where it is none. */
  word(buffer: Buffer, start: number, end: number): string {
    let hash = 0;
    let at = start;
    let high = 0;
    for (; at < end; at++) {
      const byte = buffer[at] as number;
      if (byte <= space || byte === 0x7f) break;
      high |= byte;
      hash = (Math.imul(hash, 31) + byte) | 0;
    }
    this.end = at;
    if (at === start || (at < end && buffer[at] !== space)) return "";
    return high < 0x80 ? this.#text(buffer, start, hash) : decodeUtf8(buffer.subarray(start, at));
  }

  #text(buffer: Buffer, start: number, hash: number): string {
    const place = (hash ^ (hash >>> 12)) & (places - 1);
    const known = this.#texts[place];
    if (known !== undefined && equals(known, buffer, start, this.end)) return known;
    const text = buffer.toString("latin1", start, this.end);
    this.#texts[place] = text;
    return text;
  }
}

function equals(text: string, buffer: Buffer, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) !== buffer[start + at]) return false;
  return true;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Empty where it is not UTF-8: no bytes may change on their way through a string. */
function decodeUtf8(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return ""; // the caller refuses the line
  }
}
