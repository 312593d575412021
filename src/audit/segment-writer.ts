import { closeSync, fdatasync, fsyncSync, ftruncateSync, openSync, rmSync, write } from "node:fs";
import { join } from "node:path";
import { segmentName } from "./segments.ts";

/** The two calls a durable append is made of; a test may count them or make them fail. */
export interface Disk {
  /** Writes part of a buffer at a position and resolves with how many bytes were taken. */
  write(fd: number, buffer: Buffer, offset: number, length: number, position: number): Promise<number>;
  /** Resolves when everything written so far would survive a power cut. */
  sync(fd: number): Promise<void>;
}

export const disk: Disk = {
  write: (fd, buffer, offset, length, position) =>
    new Promise((resolve, reject) =>
      write(fd, buffer, offset, length, position, (error, written) => (error ? reject(error) : resolve(written))),
    ),
  sync: (fd) => new Promise((resolve, reject) => fdatasync(fd, (error) => (error ? reject(error) : resolve()))),
};

/** Where the journal ends: everything before is durable. */
export interface Position {
  readonly segment: string;
  readonly offset: number;
}

/** Appends to the last segment and begins a new one when it is full. One write at a time; the caller sees to that. */
export class SegmentWriter {
  readonly #dir: string;
  readonly #segmentBytes: number;
  readonly #disk: Disk;
  #fd: number | undefined;
  #position: Position;

  /** `tail` is where an earlier run ended; undefined for an empty directory. */
  constructor(dir: string, tail: Position | undefined, segmentBytes: number, ops: Disk) {
    this.#dir = dir;
    this.#segmentBytes = segmentBytes;
    this.#disk = ops;
    this.#position = tail ?? { segment: "", offset: 0 };
    if (tail !== undefined) this.#fd = openSync(join(dir, tail.segment), "r+");
  }

  get position(): Position {
    return this.#position;
  }

  /** Resolves when the bytes, whose first record is `firstSeq`, are durable. After a rejection only `undo` may follow. */
  async write(buffer: Buffer, length: number, firstSeq: number): Promise<void> {
    if (this.#fd === undefined || this.#position.offset >= this.#segmentBytes) this.#begin(firstSeq);
    const fd = this.#fd ?? -1;
    const { segment, offset: start } = this.#position;
    for (let done = 0; done < length; ) {
      done += await this.#disk.write(fd, buffer, done, length - done, start + done);
    }
    await this.#disk.sync(fd);
    this.#position = { segment, offset: start + length };
  }

  /** Makes what an earlier run left in the last segment durable: it may have died between write and sync. */
  async sync(): Promise<void> {
    if (this.#fd !== undefined) await this.#disk.sync(this.#fd);
  }

  /** Takes back what a failed write may have left, so that nobody reads as recorded what was refused. */
  undo(): void {
    if (this.#fd === undefined) return;
    ftruncateSync(this.#fd, this.#position.offset);
    if (this.#position.offset > 0) return;
    // A segment is named after its first record, and that will be another one.
    this.close();
    rmSync(join(this.#dir, this.#position.segment));
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #begin(firstSeq: number): void {
    const segment = segmentName(firstSeq);
    const fd = openSync(join(this.#dir, segment), "wx", 0o600);
    this.close();
    this.#fd = fd;
    this.#position = { segment, offset: 0 };
    syncDirectory(this.#dir);
  }
}

/** Makes the creation, renaming or removal of files in a directory durable. */
export function syncDirectory(dir: string): void {
  const fd = openSync(dir, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
