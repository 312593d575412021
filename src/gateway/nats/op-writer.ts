import type { HeaderLines } from "./header-block.ts";
import { headerVersion } from "./header-lines.ts";
import type { MessageOp, PublishOp } from "./wire.ts";

/** Sizes of a message as the server counts them. The writer uses one object again and again. */
export interface SentSize {
  headerBytes: number;
  /** Headers and payload. */
  totalBytes: number;
}

const smallest = 4_096;
const largest = 262_144;
const longestNumber = 16;

/**
 * The header block up to the number in `Wayleave-Message: <connection>.<number>`, the same for all messages of a connection.
 * Both are printable ASCII, or it is a `TypeError`.
 */
export function identityLines(identity: string, connection: string): Buffer {
  if (!/^[ -~]+$/.test(identity) || !/^[!-~]+$/.test(connection)) {
    throw new TypeError("an identity is one line of printable ASCII");
  }
  return Buffer.from(`${headerVersion}Wayleave-Job: ${identity}\r\nWayleave-Message: ${connection}.`, "latin1");
}

/** Bytes that `publish` adds to the client's headers and payload at most; the cleaned headers are not counted in. */
export function identityGrowth(identity: Buffer): number {
  return identity.length + longestNumber + 4;
}

/**
 * Operations in the one form that this gateway sends: upper case, single spaces, no optional word left empty. They gather
 * in a buffer until `take`. Words must be what a reader gave: one that would break its line is a `TypeError`.
 */
export class OpWriter {
  #buffer: Buffer = Buffer.alloc(0);
  /** Where what was not yet taken begins, and where writing goes on. */
  #start = 0;
  #end = 0;
  /** How much the last `take` gave: how much traffic there is. */
  #taken = 0;
  /** Where the operation that is being written begins. */
  #mark = 0;
  readonly #sent: SentSize = { headerBytes: 0, totalBytes: 0 };

  /** Bytes that `take` would give. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** Everything since the last one. Nothing is written into it any more: it may wait in a socket for as long as it takes. */
  take(): Buffer {
    const taken = this.#buffer.subarray(this.#start, this.#end);
    this.#start = this.#end;
    this.#taken = taken.length;
    return taken;
  }

  /**
   * A message to the server: always HPUB, our headers first. `op` gives only the payload, its own subject, reply and headers
   * are not looked at.
   * @param identity From `identityLines`.
   * @param number Which message of its connection this is.
   * @param headers The client's own, cleaned.
   */
  publish(
    op: PublishOp,
    subject: string,
    reply: string,
    identity: Buffer,
    number: number,
    headers?: HeaderLines,
  ): Readonly<SentSize> {
    const lines = headers === undefined ? 0 : headers.end - headers.start;
    const payload = op.payloadEnd - op.headerEnd;
    const headerBytes = identity.length + digitsOf(number) + 2 + lines + 2;
    this.#reserve(subject, reply, headerBytes + payload);
    this.#ascii("HPUB ");
    this.#word(subject);
    if (reply !== "") this.#word(reply);
    this.#number(headerBytes);
    this.#space();
    this.#number(headerBytes + payload);
    this.#crlf();
    this.#bytes(identity, 0, identity.length);
    this.#number(number);
    this.#crlf();
    if (headers !== undefined) this.#bytes(headers.buffer, headers.start, headers.end);
    this.#crlf();
    this.#bytes(op.buffer, op.headerEnd, op.payloadEnd);
    this.#crlf();
    this.#sent.headerBytes = headerBytes;
    this.#sent.totalBytes = headerBytes + payload;
    return this.#sent;
  }

  /** A message to the client, headers and payload as they came. */
  message(op: MessageOp, subject: string, reply: string): void {
    const headers = op.headerEnd - op.headerStart;
    const total = op.payloadEnd - op.headerStart;
    this.#reserve(subject, reply, op.sid.length + total);
    this.#ascii(headers > 0 ? "HMSG " : "MSG ");
    this.#word(subject);
    this.#word(op.sid);
    if (reply !== "") this.#word(reply);
    if (headers > 0) {
      this.#number(headers);
      this.#space();
    }
    this.#number(total);
    this.#crlf();
    this.#bytes(op.buffer, op.headerStart, op.payloadEnd);
    this.#crlf();
  }

  subscribe(subject: string, queue: string, sid: string): void {
    this.#line(queue === "" ? `SUB ${checked(subject)}` : `SUB ${checked(subject)} ${checked(queue)}`, checked(sid));
  }

  /** `max` 0 ends it at once. */
  unsubscribe(sid: string, max: number): void {
    if (max === 0) this.#line("UNSUB", checked(sid));
    else this.#line(`UNSUB ${checked(sid)}`, String(max));
  }

  ping(): void {
    this.#line("PING");
  }

  pong(): void {
    this.#line("PONG");
  }

  connect(json: string): void {
    this.#line("CONNECT", oneLine(json));
  }

  ok(): void {
    this.#line("+OK");
  }

  /** The text is made one line without apostrophes: clients take what stands between the two. */
  error(text: string): void {
    this.#line("-ERR", `'${text.replace(/\p{Cc}+/gu, " ").replaceAll("'", '"')}'`);
  }

  #line(start: string, rest?: string): void {
    const text = rest === undefined ? `${start}\r\n` : `${start} ${rest}\r\n`;
    const bytes = Buffer.byteLength(text);
    if (this.#end + bytes > this.#buffer.length) this.#grow(bytes);
    this.#end += this.#buffer.write(text, this.#end, bytes);
  }

  /** Room for a message: two words of UTF-8, three numbers, an operation and its ends, and `bytes`. */
  #reserve(subject: string, reply: string, bytes: number): void {
    const most = 3 * (subject.length + reply.length) + 3 * longestNumber + 16 + bytes;
    if (this.#end + most > this.#buffer.length) this.#grow(most);
    this.#mark = this.#end;
  }

  /** What was taken keeps the old buffer; what was not moves to the new one, which holds several such takes. */
  #grow(bytes: number): void {
    const waiting = this.length;
    const roomy = Math.min(largest, Math.max(smallest, 4 * this.#taken));
    const grown = Buffer.allocUnsafeSlow(Math.max(roomy, 2 * waiting, waiting + bytes));
    this.#buffer.copy(grown, 0, this.#start, this.#end);
    this.#buffer = grown;
    this.#start = 0;
    this.#end = waiting;
  }

  /** An operation's own name. */
  #ascii(text: string): void {
    const buffer = this.#buffer;
    let end = this.#end;
    for (let at = 0; at < text.length; at++) buffer[end++] = text.charCodeAt(at);
    this.#end = end;
  }

  /** A word and the space after it. */
  #word(text: string): void {
    const buffer = this.#buffer;
    let end = this.#end;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code > 0x7f) {
        if (!word.test(text)) this.#undo();
        end = this.#end + buffer.write(text, this.#end);
        break;
      }
      if (code <= 0x20 || code === 0x7f) this.#undo();
      buffer[end++] = code;
    }
    if (end === this.#end) this.#undo();
    buffer[end] = 0x20;
    this.#end = end + 1;
  }

  /** No half of an operation may stay behind. */
  #undo(): never {
    this.#end = this.#mark;
    throw new TypeError(badWord);
  }

  #number(value: number): void {
    const digits = digitsOf(value);
    const buffer = this.#buffer;
    let left = value;
    for (let at = this.#end + digits - 1; at >= this.#end; at--) {
      buffer[at] = 0x30 + (left % 10);
      left = Math.floor(left / 10);
    }
    this.#end += digits;
  }

  #space(): void {
    this.#buffer[this.#end++] = 0x20;
  }

  #crlf(): void {
    this.#buffer[this.#end++] = 0x0d;
    this.#buffer[this.#end++] = 0x0a;
  }

  #bytes(buffer: Buffer, start: number, end: number): void {
    buffer.copy(this.#buffer, this.#end, start, end);
    this.#end += end - start;
  }
}

const badWord = "a word on the wire is not empty and holds no blanks and control characters";

function digitsOf(value: number): number {
  let digits = 1;
  for (let limit = 10; value >= limit; limit *= 10) digits++;
  return digits;
}

/** Beyond ASCII everything is a letter to NATS: a blank or line end there ends no word. */
const word = /^[!-~\u0080-\u{10ffff}]+$/u;

function checked(text: string): string {
  if (word.test(text)) return text;
  throw new TypeError(badWord);
}

function oneLine(json: string): string {
  if (/^\{\P{Cc}*\}$/u.test(json)) return json;
  throw new TypeError("a line of JSON holds no control characters");
}
