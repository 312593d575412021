import type { AuditRecord } from "../core/record.ts";
import { frameRoom, writeFrame } from "./frame.ts";

/** Somebody who waits for a batch to be durable. */
export interface Waiter {
  /** What an `append` wants to have back; undefined for `settled`. */
  readonly records: readonly AuditRecord[] | undefined;
  readonly resolve: (records: readonly AuditRecord[]) => void;
  readonly reject: (error: Error) => void;
}

const firstBytes = 1 << 18;

/** Records that become durable together, already in the bytes that will be written. */
export class Batch {
  readonly records: AuditRecord[] = [];
  readonly waiters: Waiter[] = [];
  #buffer: Buffer;
  #bytes = 0;
  /** Upper end of the number reservation in this batch; 0 where it has none. */
  reservedUpto = 0;
  /** Somebody waits, or it has waited long enough: it is written as soon as the disk is free. */
  urgent = false;

  /** @param buffer That of an earlier batch, to be used again. */
  constructor(buffer: Buffer = Buffer.allocUnsafe(firstBytes)) {
    this.#buffer = buffer;
  }

  get buffer(): Buffer {
    return this.#buffer;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.records.length === 0 && this.waiters.length === 0;
  }

  /** @param json The record as canonical JSON. */
  add(record: AuditRecord, json: string): void {
    const room = this.#bytes + frameRoom(json);
    if (room > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(room, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, this.#bytes);
      this.#buffer = larger;
    }
    this.#bytes = writeFrame(this.#buffer, this.#bytes, json);
    this.records.push(record);
    if (record.kind === "audit.reserved") this.reservedUpto = record.data.upto;
  }
}
