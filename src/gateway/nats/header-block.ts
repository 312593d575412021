import { headerBlockProblem, headerVersion } from "./header-lines.ts";
import { type HeaderRule, headerRule } from "./header-rules.ts";
import type { WireViolation } from "./wire.ts";
import { WordTable } from "./wire-subject.ts";

/** Header lines to send: from the first name to the last line's CRLF, without `NATS/1.0` and blank line; may be none. */
export interface HeaderLines {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

export interface HeaderSettings {
  /** What `Nats-Msg-Id` and its kin get before their value, with a colon between. Printable, and the session's own. */
  readonly prefix: string;
}

/** A block that needed more gives the memory back at the next one. */
const keptScratch = 16_384;

const space = 0x20;
const colon = 0x3a;
const cr = 0x0d;
const lf = 0x0a;

/**
 * Cleans the header blocks of a client's messages by the rules of `header-rules.ts`. One object serves a connection: its
 * lines hold until the next block. They are at most `headerGrowth` longer than the block was.
 */
export class HeaderCleaner {
  readonly #prefix: Buffer;
  readonly #seen: HeaderRule[] = [];
  readonly #names = new WordTable();
  /** Rules of names as they were spelled: a connection repeats a few. */
  readonly #rules = new Map<string, HeaderRule | typeof unruled>();
  readonly #lines: { -readonly [key in keyof HeaderLines]: HeaderLines[key] } = {
    buffer: headerVersion,
    start: 0,
    end: 0,
  };
  /** Blocks that cannot be sent in place are written anew here. */
  #scratch = Buffer.alloc(0);
  /** Bytes written to `scratch`; negative while the block can still be sent in place. */
  #written = -1;

  constructor(settings: HeaderSettings) {
    if (!/^[\w-]+$/.test(settings.prefix)) throw new TypeError("a prefix is letters, digits, - and _");
    this.#prefix = Buffer.from(`${settings.prefix}:`);
  }

  /** The lines of the last block that was cleaned. */
  get lines(): HeaderLines {
    return this.#lines;
  }

  /**
   * Takes the block of a `PublishOp`. `headers_malformed`, and `header_refused` where its message must not be sent: then
   * there are no lines.
   */
  clean(buffer: Buffer, start: number, end: number): WireViolation | undefined {
    this.#setLines(headerVersion, 0, 0);
    const problem = headerBlockProblem(buffer, start, end);
    if (problem !== undefined) return { code: "headers_malformed", detail: problem };
    this.#seen.length = 0;
    this.#written = -1;
    if (this.#scratch.length > keptScratch) this.#scratch = Buffer.alloc(0);
    const first = start + headerVersion.length;
    const blank = end - 2;
    let at = first;
    while (at < blank) {
      let next = at + 2;
      while (buffer[next - 1] !== lf) next++;
      const detail = this.#cleanLine(buffer, first, at, next);
      if (detail !== undefined) return { code: "header_refused", detail };
      at = next;
    }
    if (this.#written < 0) this.#setLines(buffer, first, blank);
    else this.#setLines(this.#scratch, 0, this.#written);
    return undefined;
  }

  /** `next`: where the line after it begins. */
  #cleanLine(buffer: Buffer, first: number, at: number, next: number): string | undefined {
    let separator = at;
    while (buffer[separator] !== colon) separator++;
    let value = separator + 1;
    while (buffer[value] === space) value++;
    const rule = this.#rule(buffer, at, separator);
    const treatment = rule?.treatment;
    if (rule !== undefined && treatment !== "strip") {
      if (treatment === "refuse") return `header ${ruleName(rule, buffer, at, separator)} is refused: ${rule.because}`;
      if (this.#seen.includes(rule)) return `header ${rule.name} is there more than once: send it once`;
      this.#seen.push(rule);
    }
    // A value that is empty means to the server that the header is not there.
    const prefixed = treatment === "prefix" && buffer[value] !== cr;
    const canonical = value - separator <= 2 && !prefixed && treatment !== "strip";
    if (canonical && this.#written < 0) return undefined;
    this.#begin(buffer, first, at, next);
    if (treatment === "strip") return undefined;
    this.#write(buffer, at, Math.min(value, separator + 2));
    if (prefixed) this.#write(this.#prefix, 0, this.#prefix.length);
    this.#write(buffer, value, next);
    return undefined;
  }

  #rule(buffer: Buffer, start: number, end: number): HeaderRule | undefined {
    // Wayleave-, Nats-, Nmqtt- and traceparent: no other name needs to become a string.
    const letter = (buffer[start] as number) | 0x20;
    if (letter !== 0x6e && letter !== 0x77 && letter !== 0x74) return undefined;
    return this.#ruleOf(this.#names.word(buffer, start, end));
  }

  #ruleOf(name: string): HeaderRule | undefined {
    const known = this.#rules.get(name);
    if (known !== undefined) return known === unruled ? undefined : known;
    const rule = headerRule(name);
    if (this.#rules.size === knownNames) this.#rules.clear();
    this.#rules.set(name, rule ?? unruled);
    return rule;
  }

  /** From here on the block is rewritten; what stands before this line stays as it is. */
  #begin(buffer: Buffer, first: number, at: number, next: number): void {
    const have = Math.max(this.#written, 0);
    const most = Math.max(at - first, have) + (next - at) + this.#prefix.length;
    if (most > this.#scratch.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(512, 2 * most));
      this.#scratch.copy(grown, 0, 0, have);
      this.#scratch = grown;
    }
    if (this.#written >= 0) return;
    this.#written = 0;
    this.#write(buffer, first, at);
  }

  #write(buffer: Buffer, start: number, end: number): void {
    buffer.copy(this.#scratch, this.#written, start, end);
    this.#written += end - start;
  }

  #setLines(buffer: Buffer, start: number, end: number): void {
    this.#lines.buffer = buffer;
    this.#lines.start = start;
    this.#lines.end = end;
  }
}

const longestName = 64;
const knownNames = 64;
const unruled = "unruled";

/** A family has no name to tell: then the client's own, which is printable, cut short. */
function ruleName(rule: HeaderRule, buffer: Buffer, start: number, end: number): string {
  if (!rule.name.endsWith("*")) return rule.name;
  return buffer.toString("latin1", start, Math.min(end, start + longestName));
}
