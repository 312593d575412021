import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { AuditRecord } from "../core/record.ts";
import { abridge } from "./abridged.ts";
import type { Durable } from "./index-protocol.ts";
import type { IndexedRecord, IndexPosition, KeptText, TextPlace } from "./ports.ts";

/** Records of the journal's segment files that come next, and the position after them. */
export interface Passage {
  readonly records: readonly IndexedRecord[];
  readonly position: IndexPosition;
}

/** Checksum in hex, and a space, before the JSON of each line. */
const prefixBytes = 9;
const newline = 0x0a;

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
export async function endsWith(dir: string, at: IndexPosition, last: KeptText, durable: Durable): Promise<boolean> {
  const { segment, offset } = at;
  if (segment > durable.segment || (segment === durable.segment && offset > durable.offset)) return false;
  if (!(await readdir(dir)).includes(segment)) return false;
  const length = last.place?.length ?? Buffer.byteLength(last.json);
  const start = offset - length - 1;
  if (start < prefixBytes) return false;
  const line = await readChunk(join(dir, segment), start, length + 1);
  if (last.place === undefined) return line.equals(Buffer.from(`${last.json}\n`));
  return last.place.offset === start && line.at(-1) === newline && abridge(line.subarray(0, -1)) === last.json;
}

/** The whole text of a record whose place is known. Throws where the files are not what the journal wrote. */
export async function readText(dir: string, { segment, offset, length }: TextPlace): Promise<string> {
  const line = await readChunk(join(dir, segment), offset - prefixBytes, prefixBytes + length);
  const json = line.subarray(prefixBytes);
  checkLine(line, json, segment, offset);
  return json.toString();
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
    checkLine(lines.subarray(start, end), bytes, at.segment, at.offset + start);
    const brief = abridge(bytes);
    const json = brief ?? bytes.toString();
    const place = { segment: at.segment, offset: at.offset + start + prefixBytes, length: bytes.length };
    records.push({ json, record: JSON.parse(json) as AuditRecord, ...(brief === undefined ? {} : { place }) });
    start = end + 1;
  }
  const seq = records.at(-1)?.record.seq ?? at.seq;
  return { records, position: { ...at, offset: at.offset + lines.length, seq } };
}

function checkLine(line: Buffer, json: Buffer, segment: string, offset: number): void {
  if (crc32(json) === Number.parseInt(line.toString("latin1", 0, 8), 16)) return;
  throw new Error(`${segment} byte ${offset} does not match its checksum`);
}
