import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readdirSync, readSync, type Stats, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** A place in a log that is renamed, replaced and cut while it is read. */
export interface TailPlace {
  readonly inode: string;
  /** SHA-256 of the file's first `headBytes` bytes: with another beginning it is another log. */
  readonly head: string;
  readonly headBytes: number;
  /** Bytes that have arrived. */
  readonly offset: number;
}

export interface TailPiece {
  /** What the broker knows this file by: the same after a restart, another one after each rotation or cut. */
  readonly file: string;
  readonly offset: number;
  /** Whole lines, or the beginning of one too long for a piece. */
  readonly bytes: Buffer;
}

const maxHeadBytes = 256;
const newline = 0x0a;

/** So many looks without a new line, and a renamed file is left: NGINX and Envoy write to it until they open the new one. */
const looksBeforeLeaving = 5;

/**
 * Reads one log by pieces, from where it was left. A renamed file is read to its end before the new one is begun; one that
 * was cut is begun anew. What is read stays to be read until `advance` says that it arrived. Not seen: lines that were cut
 * away before they were read.
 */
export class LogTail {
  readonly #path: string;
  readonly #pieceBytes: number;
  #fd: number | undefined;
  #place: TailPlace | undefined;
  #idleLooks = 0;

  constructor(path: string, place: TailPlace | undefined, pieceBytes: number) {
    this.#path = path;
    this.#pieceBytes = pieceBytes;
    this.#place = place;
  }

  /** Where the next piece begins; undefined before there was a whole line. */
  get place(): TailPlace | undefined {
    return this.#place;
  }

  /** The next lines, or undefined while there are none. Throws what the file system says, but not that there is no file. */
  next(): TailPiece | undefined {
    if (this.#fd === undefined && !this.#open()) return undefined;
    return this.#read() ?? (this.#leave() ? this.#read() : undefined);
  }

  /** The bytes up to there have arrived. */
  advance(offset: number): void {
    this.#idleLooks = 0;
    if (this.#place !== undefined) this.#place = { ...this.#place, offset };
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** The file that was being read, under whatever name it has now, else the one that has the log's name. */
  #open(): boolean {
    const renamed = this.#place === undefined ? undefined : this.#nameOf(this.#place.inode);
    this.#fd = ifThere(() => openSync(renamed ?? this.#path, "r"));
    return this.#fd !== undefined;
  }

  /** Beside the log, as rotation leaves it: the name and something after it. */
  #nameOf(inode: string): string | undefined {
    const folder = dirname(this.#path);
    const name = basename(this.#path);
    const names = (ifThere(() => readdirSync(folder)) ?? []).filter((entry) => entry.startsWith(name));
    const paths = [name, ...names].map((entry) => join(folder, entry));
    return paths.find((path) => inodeOf(ifThere(() => statSync(path))) === inode);
  }

  #read(): TailPiece | undefined {
    const fd = this.#fd;
    if (fd === undefined) return undefined;
    const place = this.#begin(fd);
    if (place === undefined) return undefined;
    const buffer = Buffer.allocUnsafe(this.#pieceBytes);
    const size = readSync(fd, buffer, 0, buffer.length, place.offset);
    const end = buffer.subarray(0, size).lastIndexOf(newline) + 1;
    // A line that fills a piece is sent as it is: the broker knows what to do with it.
    const length = end === 0 && size === buffer.length ? size : end;
    if (length === 0) return undefined;
    return {
      file: `${place.inode}.${place.head.slice(0, 12)}`,
      offset: place.offset,
      bytes: buffer.subarray(0, length),
    };
  }

  /** The place in the open file, at its start where it is another file than before, or was cut. */
  #begin(fd: number): TailPlace | undefined {
    const found = fstatSync(fd);
    const inode = inodeOf(found) ?? "";
    const known = this.#place;
    if (known?.inode === inode && found.size >= known.offset && digest(fd, known.headBytes) === known.head)
      return known;
    const headBytes = firstLine(fd);
    if (headBytes === undefined) return undefined;
    this.#place = { inode, head: digest(fd, headBytes), headBytes, offset: 0 };
    return this.#place;
  }

  /** True once the log's name leads to another file, which is open now. */
  #leave(): boolean {
    const now = inodeOf(ifThere(() => statSync(this.#path)));
    if (this.#fd === undefined || now === undefined || now === inodeOf(fstatSync(this.#fd))) return false;
    if (this.#idleLooks++ < looksBeforeLeaving) return false;
    const next = ifThere(() => openSync(this.#path, "r"));
    if (next === undefined) return false;
    this.close();
    this.#fd = next;
    this.#idleLooks = 0;
    return true;
  }
}

/** How many bytes tell this log from another: its first line, or the beginning of it. Undefined while it is not written. */
function firstLine(fd: number): number | undefined {
  const buffer = Buffer.alloc(maxHeadBytes);
  const size = readSync(fd, buffer, 0, maxHeadBytes, 0);
  const end = buffer.subarray(0, size).indexOf(newline);
  if (end !== -1) return end;
  return size === maxHeadBytes ? maxHeadBytes : undefined;
}

function digest(fd: number, bytes: number): string {
  const buffer = Buffer.alloc(bytes);
  const size = readSync(fd, buffer, 0, bytes, 0);
  return createHash("sha256").update(buffer.subarray(0, size)).digest("hex");
}

function inodeOf(found: Stats | undefined): string | undefined {
  return found === undefined ? undefined : `${found.dev}-${found.ino}`;
}

function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
