import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { AuditRecord } from "../core/record.ts";
import type { Durable } from "./index-protocol.ts";
import type { IndexedRecord, IndexPosition } from "./ports.ts";

/** Records of the journal's segment files that come next, and the position after them. */
export interface Passage {
  readonly records: readonly IndexedRecord[];
  readonly position: IndexPosition;
}

/** Checksum in hex, and a space, before the JSON of each line. */
const prefixBytes = 9;

/**
 * The next whole lines after a position, at most about `maxBytes` and never past what is durable. Always at least one
 * record while the position is behind. Throws where the files are not what the journal wrote.
 */
export async function readPassage(
  dir: string,
  from: IndexPosition,
  durable: Durable,
  maxBytes: number,
): Promise<Passage> {
  const at = await enter(dir, from, durable);
  for (let bytes = maxBytes; ; bytes *= 2) {
    const limit = at.segment === durable.segment ? durable.offset - at.offset : bytes;
    const chunk = await readChunk(join(dir, at.segment), at.offset, Math.min(bytes, limit));
    const end = chunk.lastIndexOf(10) + 1;
    if (end > 0) return parse(chunk.subarray(0, end), at);
    if (chunk.length < bytes) throw new Error(`${at.segment} ends in the middle of a record`);
  }
}

/** True where the journal has this record right before the position, and the position is durable. */
export async function endsWith(dir: string, position: IndexPosition, json: string, durable: Durable): Promise<boolean> {
  const { segment, offset } = position;
  if (segment > durable.segment || (segment === durable.segment && offset > durable.offset)) return false;
  if (!(await readdir(dir)).includes(segment)) return false;
  const line = Buffer.from(`${json}\n`);
  const start = offset - line.length;
  return start >= prefixBytes && line.equals(await readChunk(join(dir, segment), start, line.length));
}

/** The position, moved to the start of the next segment where this one is read to its end. */
async function enter(dir: string, from: IndexPosition, durable: Durable): Promise<IndexPosition> {
  if (from.segment === durable.segment) return from;
  if (from.segment !== "") {
    const [more] = await readChunk(join(dir, from.segment), from.offset, 1);
    if (more !== undefined) return from;
  }
  const names = (await readdir(dir)).filter((name) => /^journal-\d+\.jsonl$/.test(name)).sort();
  const next = names.find((name) => name > from.segment);
  if (next === undefined) throw new Error(`no segment follows ${from.segment}`);
  return { ...from, segment: next, offset: 0 };
}

async function readChunk(path: string, offset: number, length: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const chunk = Buffer.allocUnsafe(length);
    const { bytesRead } = await file.read(chunk, 0, length, offset);
    return chunk.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

function parse(lines: Buffer, at: IndexPosition): Passage {
  const records: IndexedRecord[] = [];
  for (let start = 0; start < lines.length; ) {
    const end = lines.indexOf(10, start);
    const bytes = lines.subarray(start + prefixBytes, end);
    if (crc32(bytes) !== Number.parseInt(lines.toString("latin1", start, start + 8), 16)) {
      throw new Error(`${at.segment} byte ${at.offset + start} does not match its checksum`);
    }
    const json = bytes.toString();
    records.push({ json, record: JSON.parse(json) as AuditRecord });
    start = end + 1;
  }
  const seq = records.at(-1)?.record.seq ?? at.seq;
  return { records, position: { ...at, offset: at.offset + lines.length, seq } };
}
