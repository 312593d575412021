import { crc32 } from "node:zlib";

/**
 * One line of a segment: `<CRC-32 of the JSON, 8 lower-case hex digits> <canonical JSON>\n`. The checksum finds damage,
 * not tampering.
 */
const prefixBytes = 9;
const space = 0x20;
const newline = 0x0a;
const digits = Buffer.from("0123456789abcdef", "latin1");
const values = Int8Array.from({ length: 256 }, (_, byte) => digits.indexOf(byte));

/** A longer text is measured, which costs less than room it does not need. */
const measuredLength = 4096;

/** Bytes a JSON text can need as a line, at most: UTF-8 has no more than three for each UTF-16 code unit. */
export function frameRoom(json: string): number {
  const bytes = json.length > measuredLength ? Buffer.byteLength(json) : json.length * 3;
  return prefixBytes + bytes + 1;
}

/** Writes a line at `offset`, where `frameRoom` bytes are free. Returns the offset after it. */
export function writeFrame(into: Buffer, offset: number, json: string): number {
  const start = offset + prefixBytes;
  const end = start + into.write(json, start);
  let rest = crc32(into.subarray(start, end));
  for (let at = offset + 7; at >= offset; at--) {
    into[at] = digits[rest & 15] ?? 0;
    rest >>>= 4;
  }
  into[start - 1] = space;
  into[end] = newline;
  return end + 1;
}

/** The JSON bytes of a line given without its newline, or undefined where the checksum does not hold. */
export function readFrame(line: Buffer): Buffer | undefined {
  if (line.length <= prefixBytes || line[prefixBytes - 1] !== space) return undefined;
  let stated = 0;
  for (let at = 0; at < 8; at++) {
    const digit = values[line[at] ?? 0] ?? -1;
    if (digit < 0) return undefined;
    stated = stated * 16 + digit;
  }
  const json = line.subarray(prefixBytes);
  return crc32(json) === stated ? json : undefined;
}

const seqMember = Buffer.from(',"seq":');
const kindMember = Buffer.from('"kind":"');

/**
 * Kind and number of a record without parsing it: in canonical JSON `kind` comes right before `seq`, and only scalars
 * come after, in which a raw `,"seq":` cannot occur. Undefined where the bytes are not of a record.
 */
export function peekRecord(json: Buffer): { readonly kind: string; readonly seq: number } | undefined {
  const at = json.lastIndexOf(seqMember);
  const kindAt = at < 0 ? -1 : json.lastIndexOf(kindMember, at);
  if (kindAt < 0) return undefined;
  let seq = 0;
  for (let digit = at + seqMember.length; digit < json.length; digit++) {
    const value = (json[digit] ?? 0) - 0x30;
    if (value < 0 || value > 9) break;
    seq = seq * 10 + value;
  }
  return { kind: json.toString("latin1", kindAt + kindMember.length, at - 1), seq };
}
