import { newPublishOp } from "./client-reader.ts";
import type { MessageOp, ServerOps, WireLimits } from "./wire.ts";
import { noBytes, noPayload, WireFrames } from "./wire-frames.ts";
import { WireLine } from "./wire-line.ts";
import { WordTable } from "./wire-subject.ts";

/**
 * What nats-server sends, op by op, however the stream is split. As strict as the reader of clients about lines, words,
 * sizes and the CRLF after a payload. Subjects may be any UTF-8 without blanks and header blocks any bytes: publishers that
 * are not behind this gateway may write such, and one of theirs must not end a job's connection.
 */
export class ServerReader {
  readonly #ops: ServerOps;
  readonly #frames: WireFrames;
  readonly #line = new WireLine();
  readonly #subjects = new WordTable();
  readonly #replies = new WordTable();
  readonly #sids = new WordTable();
  readonly #op: MessageOp = { ...newPublishOp(), sid: "" };
  /** Bytes of headers in the payload that comes next; 0 for MSG. */
  #headers = 0;

  constructor(ops: ServerOps, limits: WireLimits) {
    this.#ops = ops;
    const grammar = {
      line: (buffer: Buffer, start: number, end: number) => this.#read(buffer, start, end),
      payload: (buffer: Buffer, start: number, end: number) => this.#message(buffer, start, end),
      violation: ops.violation.bind(ops),
    };
    this.#frames = new WireFrames(grammar, limits);
  }

  push(chunk: Buffer): void {
    this.#frames.push(chunk);
    // An idle connection keeps no chunk alive.
    this.#line.set(noBytes, 0, 0);
    this.#op.buffer = noBytes;
  }

  /** Tells nothing any more, not even within the chunk that is being read. */
  stop(): void {
    this.#frames.stop();
  }

  #read(buffer: Buffer, start: number, end: number): number {
    const line = this.#line;
    line.set(buffer, start, end);
    if (line.skip("MSG ")) return this.#readMessage(false);
    if (line.skip("HMSG ")) return this.#readMessage(true);
    if (line.is("PING")) this.#ops.ping();
    else if (line.is("PONG")) this.#ops.pong();
    else if (line.is("+OK")) this.#ops.ok();
    else if (line.skip("-ERR ")) this.#error(line.rest());
    else if (line.skip("INFO ")) this.#info(line.json());
    else this.#frames.refuse("operation_unknown", "the server sent an operation that the gateway does not know");
    return noPayload;
  }

  /** `subject sid [reply] [header bytes] bytes`, after the operation's own word. */
  #readMessage(headers: boolean): number {
    const line = this.#line;
    const op = this.#op;
    const numbers = headers ? 2 : 1;
    op.subject = line.word(this.#subjects);
    let read = op.subject !== "" && line.space();
    op.sid = read ? line.word(this.#sids) : "";
    read = op.sid !== "" && line.space();
    op.reply = "";
    let size = read ? line.numbers(numbers) : -1;
    if (read && size < 0) {
      op.reply = line.word(this.#replies);
      size = op.reply !== "" && line.space() ? line.numbers(numbers) : -1;
    }
    this.#headers = headers ? line.before : 0;
    if (size >= this.#headers && (this.#headers > 0 || !headers)) return size;
    this.#frames.refuse("operation_malformed", "the server sent a message line that is malformed");
    return noPayload;
  }

  #message(buffer: Buffer, start: number, end: number): void {
    const op = this.#op;
    op.buffer = buffer;
    op.headerStart = start;
    op.headerEnd = start + this.#headers;
    op.payloadEnd = end;
    this.#ops.message(op);
  }

  #error(rest: string): void {
    const text = /^'(.*)'$/.exec(rest)?.[1];
    if (text !== undefined) this.#ops.error(Buffer.from(text, "latin1").toString("utf8"));
    else this.#frames.refuse("operation_malformed", "the server sent an error that is malformed");
  }

  #info(json: string | undefined): void {
    if (json !== undefined) this.#ops.info(json);
    else this.#frames.refuse("operation_malformed", "the server sent an INFO that is not one JSON object");
  }
}
