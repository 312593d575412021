import { headerBlockProblem, largestHeaderBlock, smallestHeaderBlock } from "./header-lines.ts";
import type { ClientOps, PublishOp, WireLimits } from "./wire.ts";
import { noBytes, noPayload, WireFrames } from "./wire-frames.ts";
import { WireLine } from "./wire-line.ts";
import { isSubscriptionSubject, WordTable } from "./wire-subject.ts";

const queueName = /^[\w.:/=@-]{1,128}$/;
const subscriptionId = /^[\w-]{1,64}$/;
const count = /^(?:0|[1-9]\d{0,14})$/;

/**
 * What a client sends, op by op, however the stream is split. Stricter than nats-server, so that the two cannot read one
 * stream differently: operations in upper case, one space between words, CRLF alone, plain decimal sizes, subjects as in
 * `wire-subject.ts`, header blocks as in `header-lines.ts`. An optional word that is left out may leave its space behind
 * (`PUB a  5`, `SUB a  1`, `UNSUB 1 `), since the Go and Python clients write it so. Anything else is one violation, and
 * nothing after it. Not checked: what CONNECT says, sids that are used twice, and who may do what.
 */
export class ClientReader {
  readonly #ops: ClientOps;
  readonly #frames: WireFrames;
  readonly #line = new WireLine();
  readonly #subjects = new WordTable();
  readonly #replies = new WordTable();
  readonly #op: PublishOp = newPublishOp();
  /** Bytes of headers in the payload that comes next; 0 for PUB. */
  #headers = 0;

  constructor(ops: ClientOps, limits: WireLimits) {
    this.#ops = ops;
    const grammar = {
      line: (buffer: Buffer, start: number, end: number) => this.#read(buffer, start, end),
      payload: (buffer: Buffer, start: number, end: number) => this.#publish(buffer, start, end),
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

  /** Tells nothing any more, not even within the chunk that is being read: for a connection that is refused. */
  stop(): void {
    this.#frames.stop();
  }

  #read(buffer: Buffer, start: number, end: number): number {
    const line = this.#line;
    line.set(buffer, start, end);
    if (line.skip("PUB ")) return this.#readPublish(false);
    if (line.skip("HPUB ")) return this.#readPublish(true);
    if (line.skip("SUB ")) this.#subscribe(line.rest().split(" "));
    else if (line.skip("UNSUB ")) this.#unsubscribe(line.rest().split(" "));
    else if (line.skip("CONNECT ")) this.#connect(line.json());
    else if (line.is("PING")) this.#ops.ping();
    else if (line.is("PONG")) this.#ops.pong();
    else this.#frames.refuse("operation_unknown", unknown);
    return noPayload;
  }

  /** `subject [reply] [header bytes] bytes`, after the operation's own word. */
  #readPublish(headers: boolean): number {
    const line = this.#line;
    const op = this.#op;
    op.subject = line.literal(this.#subjects);
    if (op.subject === "") return this.#refuse("subject_invalid", badSubject);
    op.reply = "";
    if (!line.space()) return this.#refuse("operation_malformed", badPublish);
    const numbers = headers ? 2 : 1;
    let size = line.numbers(numbers);
    if (size < 0) {
      const wrong = this.#readReply();
      if (wrong !== undefined) return this.#refuse(wrong, wrong === "subject_invalid" ? badReply : badPublish);
      size = line.numbers(numbers);
    }
    if (size < 0) return this.#refuse("operation_malformed", badPublish);
    this.#headers = headers ? line.before : 0;
    if (this.#headers === 0) return size; // HPUB with no headers at all: what nats.js sends for an empty set of them
    const most = Math.min(size, largestHeaderBlock);
    if (this.#headers >= smallestHeaderBlock && this.#headers <= most) return size;
    return this.#refuse(
      "headers_malformed",
      `headers have at least 12 bytes, and at most ${largestHeaderBlock} or the message's`,
    );
  }

  /** A reply and the space after it, or that space alone where the reply was left out. */
  #readReply(): "subject_invalid" | "operation_malformed" | undefined {
    const line = this.#line;
    if (line.space()) return undefined;
    this.#op.reply = line.literal(this.#replies);
    if (this.#op.reply === "") return "subject_invalid";
    return line.space() ? undefined : "operation_malformed";
  }

  #publish(buffer: Buffer, start: number, end: number): void {
    const op = this.#op;
    op.buffer = buffer;
    op.headerStart = start;
    op.headerEnd = start + this.#headers;
    op.payloadEnd = end;
    const problem = this.#headers === 0 ? undefined : headerBlockProblem(buffer, start, op.headerEnd);
    if (problem === undefined) this.#ops.publish(op);
    else this.#frames.refuse("headers_malformed", problem);
  }

  #subscribe(words: readonly string[]): void {
    const [subject = "", second = "", third] = words;
    const queue = third === undefined ? "" : second;
    const sid = third ?? second;
    if (!isSubscriptionSubject(subject)) this.#refuse("subject_invalid", badSubscription);
    else if (words.length > 3 || !subscriptionId.test(sid) || (queue !== "" && !queueName.test(queue))) {
      this.#refuse("operation_malformed", "SUB takes a subject, a queue group if wanted, and a short subscription id");
    } else this.#ops.subscribe(subject, queue, sid);
  }

  #unsubscribe(words: readonly string[]): void {
    const [sid = "", max = ""] = words;
    if (words.length > 2 || !subscriptionId.test(sid) || (max !== "" && !count.test(max))) {
      this.#refuse("operation_malformed", "UNSUB takes a subscription id, and a number of messages if wanted");
    } else this.#ops.unsubscribe(sid, Number(max));
  }

  #connect(json: string | undefined): void {
    if (json !== undefined) this.#ops.connect(json);
    else this.#refuse("operation_malformed", "CONNECT takes one JSON object in UTF-8 on one line");
  }

  #refuse(code: Parameters<WireFrames["refuse"]>[0], detail: string): typeof noPayload {
    this.#frames.refuse(code, detail);
    return noPayload;
  }
}

export function newPublishOp(): PublishOp {
  return { subject: "", reply: "", headerStart: 0, headerEnd: 0, payloadEnd: 0, buffer: noBytes };
}

const unknown =
  "a line begins with none of CONNECT, PUB, HPUB, SUB, UNSUB, PING and PONG, in upper case and followed by one space or the end";
const badSubject =
  "a message's subject is printable ASCII without wildcards and empty tokens, of at most 1024 characters";
const badReply = "a message's reply subject is like its subject: without wildcards and empty tokens";
const badSubscription =
  "a subscription's subject is printable ASCII, of at most 1024 characters, without empty tokens; * and > stand alone in a token, > at the end";
const badPublish =
  "PUB and HPUB take a subject, a reply subject if wanted, and sizes in plain decimal, one space between";
