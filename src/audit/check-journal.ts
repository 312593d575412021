import { WayleaveError } from "../core/errors.ts";
import type { AuditRecord } from "../core/record.ts";
import { peekRecord, readFrame } from "./frame.ts";
import { type Line, listSegments, readLines, type Segment } from "./segments.ts";

/** What a whole, unharmed journal ends with. */
export interface JournalEnd {
  /** Zero for an empty journal. */
  readonly lastSeq: number;
  /** What the last `audit.reserved` said: numbers up to here may have been given out. */
  readonly reservedUpto: number;
  /** The last segment that has a line, and where its last line ends. */
  readonly tail: { readonly segment: string; readonly offset: number } | undefined;
  /** A write that a crash cut short, never acknowledged: everything of this segment from `offset` on. */
  readonly torn: { readonly segment: string; readonly offset: number } | undefined;
}

type Progress = { -readonly [K in keyof JournalEnd]: JournalEnd[K] };

/**
 * Reads every line of every segment and checks checksums, names and numbers. Only what follows the last newline of the
 * last segment may be incomplete. Everything else that is wrong throws `journal_corrupt`.
 */
export async function checkJournal(dir: string): Promise<JournalEnd> {
  const segments = await listSegments(dir);
  const end: Progress = { lastSeq: 0, reservedUpto: 0, tail: undefined, torn: undefined };
  for (const segment of segments) {
    const offset = await checkSegment(dir, segment, segment === segments.at(-1), end);
    if (offset > 0) end.tail = { segment: segment.name, offset };
  }
  return end;
}

/** Where the segment's last whole line ends. */
async function checkSegment(dir: string, segment: Segment, isLast: boolean, end: Progress): Promise<number> {
  let offset = 0;
  for await (const lines of readLines(dir, segment.name)) {
    for (const line of lines) {
      if (line.complete) {
        checkLine(segment, line, end);
        offset = line.offset + line.bytes.length + 1;
      } else if (isLast) {
        end.torn = { segment: segment.name, offset };
      } else {
        throw corrupt(segment, line, "has no end, and it is not the last line");
      }
    }
  }
  if (offset === 0 && !isLast) throw corrupt(segment, undefined, "is empty, and it is not the last file");
  if (offset === 0) end.torn = { segment: segment.name, offset };
  return offset;
}

function checkLine(segment: Segment, line: Line, end: Progress): void {
  const json = readFrame(line.bytes);
  if (json === undefined) throw corrupt(segment, line, "does not match its checksum");
  const record = peekRecord(json);
  if (record === undefined) throw corrupt(segment, line, "is not a record");
  if (line.number === 1 && record.seq !== segment.firstSeq) {
    throw corrupt(segment, line, `has number ${record.seq}, and the file's name says ${segment.firstSeq}`);
  }
  if (record.seq !== end.lastSeq + 1 && !explainsHole(record.kind, json, end.lastSeq)) {
    throw corrupt(segment, line, `has number ${record.seq} after ${end.lastSeq}, so records are missing before it`);
  }
  if (record.kind === "audit.reserved") end.reservedUpto = reservedUpto(json);
  end.lastSeq = record.seq;
}

function explainsHole(kind: string, json: Buffer, lastSeq: number): boolean {
  if (kind !== "audit.gap") return false;
  const record = JSON.parse(json.toString()) as AuditRecord;
  if (record.kind !== "audit.gap") return false;
  const { after_seq, at_most } = record.data;
  return after_seq === lastSeq && record.seq === after_seq + at_most + 1;
}

function reservedUpto(json: Buffer): number {
  const record = JSON.parse(json.toString()) as AuditRecord;
  return record.kind === "audit.reserved" ? record.data.upto : 0;
}

/** The error for a segment that is not what was written. */
export function corrupt(
  segment: Segment,
  line: Pick<Line, "number" | "offset"> | undefined,
  what: string,
): WayleaveError {
  const where = line === undefined ? "" : ` line ${line.number} (byte ${line.offset})`;
  return new WayleaveError(
    "journal_corrupt",
    `${segment.name}${where} ${what}. The journal was changed or damaged after it was written, and nothing in it is trusted: restore it from a backup, or start with another data directory.`,
  );
}
