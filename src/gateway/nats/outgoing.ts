import type { NatsCount } from "../../core/nats-record.ts";
import type { AuditEvent } from "../../core/record.ts";
import { finalEnd, passingEnd } from "./connection-end.ts";
import { type Denial, denialEvent, denialText } from "./denial.ts";
import { paceMs } from "./gateway-limits.ts";
import { GroupCommit, type Sealed } from "./group-commit.ts";
import type { LiveConnection } from "./live-connection.ts";
import { OpWriter } from "./op-writer.ts";
import { PublishBatch } from "./publish-batch.ts";
import { SentMemory } from "./spent-memory.ts";

/** The writer's buffer would grow, and be copied each time, as long as a slow disk has the record before. */
const pieceBytes = 65_536;

/**
 * What is on its way to the server: operations, their records, and what the client is answered when they have gone, all in
 * one order. Nothing goes before its record is written.
 */
export class Outgoing {
  readonly writer = new OpWriter();
  /** For the client. */
  readonly replies = new OpWriter();
  readonly #live: LiveConnection;
  readonly #batch: PublishBatch;
  readonly #commit: GroupCommit;
  readonly #memory = new SentMemory();
  readonly #forwarded = { messages: 0, bytes: 0 };
  /** What the writer gave since the last seal, and how many bytes that is. */
  #pieces: Buffer[] = [];
  #gathered = 0;
  #messages = 0;
  #bytes = 0;
  /** Whether a record must be durable first although messages are recorded behind. */
  #durable = false;
  /** Bytes that wait for the journal. */
  #waiting = 0;
  #denied = 0;

  constructor(live: LiveConnection) {
    const { admission, authority, limits, place } = live;
    this.#live = live;
    this.#batch = new PublishBatch(place, admission.record, limits);
    this.#commit = new GroupCommit({
      journal: authority,
      seal: () => this.#seal(),
      failed: (error) => this.#unwritten(error),
      maxAhead: limits.aheadMessages,
    });
  }

  /** Messages that were handed to the server's socket. */
  get forwarded(): NatsCount {
    return this.#forwarded;
  }

  /** Operations that were denied. */
  get denied(): number {
    return this.#denied;
  }

  /** Number of the next message. */
  get next(): number {
    return this.#batch.next;
  }

  /** The record of a message that was just written: its row, its size and the policy that let it through. */
  message(row: string, bytes: number, policy: string): void {
    this.#batch.message(row, bytes, policy);
    this.#messages++;
    this.#bytes += bytes;
    if (this.writer.length >= pieceBytes) this.#cut();
  }

  /** A record of its own. `durable`: what it is about waits for it, however messages are recorded. */
  record(event: AuditEvent, durable = false): void {
    this.#batch.event(event);
    this.#durable ||= durable;
  }

  /** An operation is refused and the client told; the connection stays, unless there are too many. */
  deny(denial: Denial, subject: string): void {
    const { admission, place } = this.#live;
    this.record(denialEvent(place.gateway, admission, denial, "deny"));
    this.replies.error(denialText(place.gateway, admission, denial, subject));
    this.#denied++;
    if (this.#live.denied()) return;
    const seconds = paceMs / 1000;
    this.#live.end(
      finalEnd("too_many_denials", `too many denied operations of this job within ${seconds} s; wait as long`),
    );
  }

  /** Policy would refuse it, but the target is observed. */
  observe(denial: Denial): void {
    this.record(denialEvent(this.#live.place.gateway, this.#live.admission, denial, "would_deny"));
  }

  ok(): void {
    if (this.#live.connect.verbose) this.replies.ok();
  }

  /** Writes and forwards what gathered. While the journal is behind, the client is not read. */
  flush(): void {
    this.#commit.flush();
    this.#pace();
  }

  /** The server's socket is through with all that it was given. */
  drained(): void {
    this.#memory.drained();
  }

  /** Resolves when everything that gathered has been forwarded. */
  settled(): Promise<void> {
    return this.#commit.settled();
  }

  /** Nothing is forwarded any more. Gives the records of what was refused and not yet written. */
  stop(): readonly AuditEvent[] {
    this.#commit.stop();
    // What was not forwarded did not happen.
    return this.#batch.take().filter(({ kind }) => kind === "decision" || kind === "nats.refused");
  }

  #cut(): void {
    const piece = this.writer.take();
    if (piece.length === 0) return;
    this.#pieces.push(piece);
    this.#gathered += piece.length;
  }

  #seal(): Sealed | undefined {
    const events = this.#batch.take();
    this.#cut();
    const pieces = this.#pieces;
    const length = this.#gathered;
    const replies = this.replies.take();
    if (events.length === 0 && length === 0 && replies.length === 0) return undefined;
    const messages = this.#messages;
    const size = this.#bytes;
    const before = this.#durable || this.#live.admission.records === "durable";
    this.#messages = 0;
    this.#bytes = 0;
    this.#durable = false;
    this.#pieces = [];
    this.#gathered = 0;
    this.#waiting += length;
    const apply = () => {
      this.#waiting -= length;
      this.#forwarded.messages += messages;
      this.#forwarded.bytes += size;
      for (const piece of pieces) {
        this.#live.server.send(piece);
        this.#memory.sent(piece, this.#live.server.waiting);
      }
      this.#live.client.send(replies);
      this.#pace();
    };
    return { events, written: before ? "before" : "behind", messages, apply };
  }

  #pace(): void {
    const { client, limits } = this.#live;
    const held = this.#waiting + this.#gathered + this.writer.length;
    if (Math.max(held, this.#batch.weight) > limits.heldBytes) client.hold("journal");
    else client.release("journal");
  }

  #unwritten(error: unknown): void {
    this.#live.onFault(error);
    this.#live.end(passingEnd("outage", "what the client does cannot be recorded: an outage, and no refusal"));
  }
}
