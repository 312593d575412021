import { isUtf8 } from "node:buffer";
import { noBytes } from "./wire-frames.ts";
import type { WordTable } from "./wire-subject.ts";

const space = 0x20;
const zero = 0x30;
/** More digits could not be told apart as a number. */
const maxDigits = 15;

/** Reads the words of one line from left to right. One object serves all lines of a connection. */
export class WireLine {
  #buffer: Buffer = noBytes;
  #at = 0;
  #end = 0;
  before = 0;

  set(buffer: Buffer, start: number, end: number): void {
    this.#buffer = buffer;
    this.#at = start;
    this.#end = end;
  }

  get ended(): boolean {
    return this.#at === this.#end;
  }

  /** Whether the line says exactly this here; it is stepped over. */
  skip(text: string): boolean {
    const buffer = this.#buffer;
    const start = this.#at;
    if (this.#end - start < text.length) return false;
    for (let at = 0; at < text.length; at++) if (buffer[start + at] !== text.charCodeAt(at)) return false;
    this.#at = start + text.length;
    return true;
  }

  /** Whether that is all the line says. */
  is(text: string): boolean {
    return this.#end - this.#at === text.length && this.skip(text);
  }

  /** One space, stepped over. */
  space(): boolean {
    if (this.#at === this.#end || this.#buffer[this.#at] !== space) return false;
    this.#at++;
    return true;
  }

  literal(table: WordTable): string {
    const text = table.literal(this.#buffer, this.#at, this.#end);
    this.#at = table.end;
    return text;
  }

  word(table: WordTable): string {
    const text = table.word(this.#buffer, this.#at, this.#end);
    this.#at = table.end;
    return text;
  }

  /**
   * Numbers up to the end of the line, one space between them: exactly `count` of them, decimal, without sign or leading
   * zero. Gives the last; the one before it is `before`. -1, and nothing stepped over, where the line does not end so.
   */
  numbers(count: number): number {
    const start = this.#at;
    let value = this.#number();
    if (count === 2) {
      this.before = value;
      value = value >= 0 && this.space() ? this.#number() : -1;
    }
    if (value >= 0 && this.#at === this.#end) return value;
    this.#at = start;
    return -1;
  }

  #number(): number {
    const buffer = this.#buffer;
    const start = this.#at;
    let at = start;
    let value = 0;
    for (; at < this.#end; at++) {
      const digit = (buffer[at] as number) - zero;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const digits = at - start;
    if (digits === 0 || digits > maxDigits || (digits > 1 && buffer[start] === zero)) return -1;
    this.#at = at;
    return value;
  }

  /** What is left of it; bytes above 127 as they are, one character each. */
  rest(): string {
    return this.#buffer.toString("latin1", this.#at, this.#end);
  }

  /**
   * What is left of it as the text of a JSON object, not parsed; a space may follow, as nats-server writes it after INFO.
   * Undefined where it is not UTF-8 in braces without control characters.
   */
  json(): string | undefined {
    const bytes = this.#buffer.subarray(this.#at, this.#end);
    if (!isUtf8(bytes)) return undefined;
    return /^(\{\P{Cc}*\}) ?$/u.exec(bytes.toString())?.[1];
  }
}
