import { open, readdir } from "node:fs/promises";
import { join } from "node:path";

/** One file of the journal, named after the first record in it, so that names sort as their records do. */
export interface Segment {
  readonly name: string;
  readonly firstSeq: number;
}

const pattern = /^journal-(\d{12,})\.jsonl$/;

export function segmentName(firstSeq: number): string {
  return `journal-${String(firstSeq).padStart(12, "0")}.jsonl`;
}

/** The segments of a directory, oldest first. Other files are not looked at. */
export async function listSegments(dir: string): Promise<readonly Segment[]> {
  const names = await readdir(dir);
  return names
    .flatMap((name) => {
      const firstSeq = pattern.exec(name)?.[1];
      return firstSeq === undefined ? [] : [{ name, firstSeq: Number(firstSeq) }];
    })
    .sort((a, b) => a.firstSeq - b.firstSeq);
}

/** One line of a segment. */
export interface Line {
  /** Without the newline. Valid as long as it is held: chunks are not reused. */
  readonly bytes: Buffer;
  /** Where it starts in the file, bytes. */
  readonly offset: number;
  /** From 1. */
  readonly number: number;
  /** False for what follows the last newline. */
  readonly complete: boolean;
}

const chunkBytes = 1 << 20;

/** The lines of a segment up to `end` bytes (default: all), a chunk at a time. Nothing is checked. */
export async function* readLines(dir: string, name: string, end = Infinity): AsyncGenerator<readonly Line[]> {
  const file = await open(join(dir, name), "r");
  try {
    const size = Math.min((await file.stat()).size, end);
    let rest: Buffer = Buffer.alloc(0);
    let offset = 0; // of `rest` in the file
    let number = 0;
    for (let at = 0; at < size; at = offset + rest.length) {
      const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, size - at));
      const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) break; // cut short meanwhile
      const text =
        rest.length === 0 ? chunk.subarray(0, bytesRead) : Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
      const lines: Line[] = [];
      let start = 0;
      for (let stop = text.indexOf(10); stop >= 0; stop = text.indexOf(10, start)) {
        lines.push({ bytes: text.subarray(start, stop), offset: offset + start, number: ++number, complete: true });
        start = stop + 1;
      }
      yield lines;
      rest = text.subarray(start);
      offset += start;
    }
    if (rest.length > 0) yield [{ bytes: rest, offset, number: number + 1, complete: false }];
  } finally {
    await file.close();
  }
}
