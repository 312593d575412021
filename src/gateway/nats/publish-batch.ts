import type { NatsPlace } from "../../core/nats-record.ts";
import type { AuditEvent } from "../../core/record.ts";
import type { Admission } from "./ports.ts";

/** What a record counts for that is no message's: with its job and place it has some hundred bytes. */
const eventBytes = 1_024;

/**
 * Records that gather until they are written, in the order of what they are about. Messages that follow one another share
 * one record, as long as it is not too large and policy stays the same.
 */
export class PublishBatch {
  readonly #place: NatsPlace;
  readonly #record: Admission["record"];
  readonly #maxRows: number;
  readonly #maxCharacters: number;
  #events: AuditEvent[] = [];
  #rows: string[] = [];
  #characters = 0;
  #bytes = 0;
  #policy = "";
  #weight = 0;
  /** Number of the next message. */
  #next = 1;

  constructor(
    place: NatsPlace,
    record: Admission["record"],
    limits: { readonly rows: number; readonly rowCharacters: number },
  ) {
    this.#place = place;
    this.#record = record;
    this.#maxRows = limits.rows;
    this.#maxCharacters = limits.rowCharacters;
  }

  /** Number of the next message on its connection; the first ever is 1. */
  get next(): number {
    return this.#next;
  }

  /** Bytes that what gathered takes in the journal, roughly. */
  get weight(): number {
    return this.#weight;
  }

  /** `bytes`: headers and payload as they will be sent. */
  message(row: string, bytes: number, policy: string): void {
    if (policy !== this.#policy || this.#rows.length >= this.#maxRows || this.#characters >= this.#maxCharacters) {
      this.#closeRows();
      this.#policy = policy;
    }
    this.#rows.push(row);
    this.#characters += row.length;
    this.#weight += row.length;
    this.#bytes += bytes;
    this.#next++;
  }

  event(event: AuditEvent): void {
    this.#closeRows();
    this.#events.push(event);
    this.#weight += eventBytes;
  }

  /** Everything since the last one. */
  take(): readonly AuditEvent[] {
    this.#closeRows();
    const events = this.#events;
    this.#weight = 0;
    if (events.length > 0) this.#events = [];
    return events;
  }

  #closeRows(): void {
    if (this.#rows.length === 0) return;
    const data = {
      ...this.#place,
      first: this.#next - this.#rows.length,
      messages: this.#rows,
      bytes: this.#bytes,
      policy: this.#policy,
    };
    this.#events.push({ kind: "nats.published", ...this.#record, data });
    this.#rows = [];
    this.#characters = 0;
    this.#bytes = 0;
  }
}
