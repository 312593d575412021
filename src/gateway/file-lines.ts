/** Some of a log file's bytes, as an agent beside the gateway sends them. */
export interface FilePiece {
  /** What the agent calls this file: another one after each rotation or truncation. */
  readonly file: string;
  /** Where the bytes begin in that file. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** How far the broker came with a piece: the answer of `POST /v1/gateway/log`. */
export interface FileTaken {
  /** Lines that are records now. */
  readonly taken: number;
  /** Lines that already were. */
  readonly repeated: number;
  /** Lines that are no evidence. */
  readonly refused: number;
  /** Send on from this byte of the file. */
  readonly upto: number;
}

export interface FileLine {
  /** Undefined for one that is too long to be a line of a gateway's log. */
  readonly text: string | undefined;
  /** Offset in the file after its line break. */
  readonly end: number;
}

const maxLineBytes = 16 * 1024;

/**
 * The whole lines of a piece, and what is after the last of them. `withinLong`: the piece begins inside a line that was
 * given up as too long, so that its end is never read as a line of its own.
 */
export function linesOf(
  { bytes, offset }: FilePiece,
  withinLong: boolean,
): { readonly lines: readonly FileLine[]; readonly rest: { readonly end: number; readonly tooLong: boolean } } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lines: FileLine[] = [];
  let from = 0;
  for (;;) {
    const end = buffer.indexOf(0x0a, from);
    if (end === -1) break;
    const tooLong = end - from > maxLineBytes || (withinLong && from === 0);
    lines.push({ text: tooLong ? undefined : buffer.toString("utf8", from, end), end: offset + end + 1 });
    from = end + 1;
  }
  const left = buffer.length - from;
  return { lines, rest: { end: offset + buffer.length, tooLong: left > maxLineBytes || (withinLong && from === 0) } };
}
