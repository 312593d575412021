import type { AuditRecord } from "../core/record.ts";
import { corrupt } from "./check-journal.ts";
import { peekRecord, readFrame } from "./frame.ts";
import type { Position } from "./segment-writer.ts";
import { type Line, listSegments, readLines, type Segment } from "./segments.ts";

/** Records from a number on, in order, up to a durable position. Those of other kinds are skipped without being parsed. */
export async function* replayRecords(
  dir: string,
  fromSeq: number,
  until: Position,
  kinds: ReadonlySet<string> | undefined,
): AsyncGenerator<AuditRecord> {
  const segments = (await listSegments(dir)).filter(({ name }) => name <= until.segment);
  const first = Math.max(
    segments.findLastIndex(({ firstSeq }) => firstSeq <= fromSeq),
    0,
  );
  for (const segment of segments.slice(first)) {
    const end = segment.name === until.segment ? until.offset : undefined;
    for await (const lines of readLines(dir, segment.name, end)) {
      for (const line of lines) {
        const { json, kind, seq } = readLine(segment, line);
        if (seq >= fromSeq && kinds?.has(kind) !== false) yield JSON.parse(json.toString()) as AuditRecord;
      }
    }
  }
}

function readLine(segment: Segment, line: Line) {
  const json = line.complete ? readFrame(line.bytes) : undefined;
  const record = json && peekRecord(json);
  if (json === undefined || record === undefined) throw corrupt(segment, line, "does not match its checksum");
  return { json, ...record };
}
