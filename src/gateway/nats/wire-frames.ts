import type { WireLimits, WireViolation } from "./wire.ts";

/** What the lines of one side mean. Bytes hold only during the call. */
export interface WireGrammar {
  /** One line without its CRLF. Gives the size of the payload that follows it, or `noPayload`. */
  line(buffer: Buffer, start: number, end: number): number;
  /** The payload of the line before, without its CRLF. */
  payload(buffer: Buffer, start: number, end: number): void;
  violation(violation: WireViolation): void;
}

export const noPayload = -1;

export const noBytes: Buffer = Buffer.alloc(0);

const cr = 0x0d;
const lf = 0x0a;

/**
 * Cuts a stream into lines and payloads, however it was split. Lines end in CRLF, payloads are followed by one. What lies
 * within one chunk is read in place; only what was split is put together, and never more than the limits allow.
 */
export class WireFrames {
  readonly #grammar: WireGrammar;
  readonly #maxLine: number;
  readonly #maxPayload: number;
  readonly #held = new HeldBytes();
  /** Size of the payload that comes next; `noPayload` where a line does. */
  #payload = noPayload;
  #stopped = false;

  constructor(grammar: WireGrammar, limits: WireLimits) {
    this.#grammar = grammar;
    this.#maxLine = limits.maxLine;
    this.#maxPayload = limits.maxPayload;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#stopped) {
      at = this.#payload === noPayload ? this.#readLine(chunk, at) : this.#readPayload(chunk, at);
    }
  }

  /** Nothing is told any more, whatever still comes. */
  stop(): void {
    this.#stopped = true;
    this.#held.drop();
  }

  refuse(code: WireViolation["code"], detail: string): void {
    if (this.#stopped) return;
    this.stop();
    this.#grammar.violation({ code, detail });
  }

  #readLine(chunk: Buffer, from: number): number {
    const held = this.#held;
    // With its CR a line is one longer than `maxLine`; the byte after that must be the LF.
    const last = Math.min(chunk.length, from + this.#maxLine + 2 - held.length);
    let at = from;
    while (at < last && chunk[at] !== lf) at++;
    if (at === last) {
      if (held.length + at - from > this.#maxLine + 1) this.refuse("line_too_long", this.#tooLong());
      else held.add(chunk, from, at);
      return at;
    }
    if (held.length === 0) this.#line(chunk, from, at);
    else {
      held.add(chunk, from, at);
      const { bytes, length } = held;
      held.length = 0;
      this.#line(bytes, 0, length);
      held.shrink();
    }
    return at + 1;
  }

  #tooLong(): string {
    return `a line is longer than ${this.#maxLine} bytes: send shorter subjects, or a shorter token in CONNECT`;
  }

  /** `end`: where the LF is. */
  #line(buffer: Buffer, start: number, end: number): void {
    if (end === start || buffer[end - 1] !== cr) {
      this.refuse("operation_malformed", "a line must end in CR LF: LF alone is not taken");
      return;
    }
    const size = this.#grammar.line(buffer, start, end - 1);
    this.#payload = size;
    if (size <= this.#maxPayload) return;
    const detail = `a message of ${size} bytes, headers included: at most ${this.#maxPayload} are taken`;
    this.refuse("payload_too_large", detail);
  }

  #readPayload(chunk: Buffer, from: number): number {
    const held = this.#held;
    const missing = this.#payload + 2 - held.length;
    const at = Math.min(chunk.length, from + missing);
    if (held.length === 0 && at - from === missing) this.#deliver(chunk, from);
    else {
      held.add(chunk, from, at);
      if (at - from < missing) return at;
      const { bytes } = held;
      held.length = 0;
      this.#deliver(bytes, 0);
      held.shrink();
    }
    return at;
  }

  #deliver(buffer: Buffer, start: number): void {
    const end = start + this.#payload;
    this.#payload = noPayload;
    if (buffer[end] === cr && buffer[end + 1] === lf) this.#grammar.payload(buffer, start, end);
    else this.refuse("operation_malformed", "a payload is not followed by CR LF: its size in the line before is wrong");
  }
}

const smallest = 512;
/** An operation that needed more gives the memory back. */
const kept = 16_384;

/** Bytes of one operation that came in several chunks. Grows with what came, not with what was announced. */
class HeldBytes {
  bytes: Buffer = noBytes;
  length = 0;

  add(chunk: Buffer, from: number, to: number): void {
    const wanted = this.length + to - from;
    if (wanted > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(smallest, this.bytes.length * 2, wanted));
      this.bytes.copy(grown, 0, 0, this.length);
      this.bytes = grown;
    }
    chunk.copy(this.bytes, this.length, from, to);
    this.length = wanted;
  }

  shrink(): void {
    if (this.bytes.length > kept) this.drop();
  }

  drop(): void {
    this.bytes = noBytes;
    this.length = 0;
  }
}
