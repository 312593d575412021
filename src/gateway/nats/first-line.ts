const lf = 0x0a;

/** Waits for the first line of a stream, so that nothing behind it is looked at before it was judged. */
export class FirstLine {
  readonly #max: number;
  #held: Buffer[] = [];
  #length = 0;

  /** @param max Bytes of the line, with its CRLF. */
  constructor(max: number) {
    this.#max = max;
  }

  /** The line with its end, and what came behind it; `too_long`; or undefined while it is not there. */
  push(chunk: Buffer): { readonly line: Buffer; readonly rest: Buffer } | "too_long" | undefined {
    const at = chunk.indexOf(lf);
    const end = at < 0 ? chunk.length : at + 1;
    this.#length += end;
    if (this.#length > this.#max) return "too_long";
    this.#held.push(chunk.subarray(0, end));
    if (at < 0) return undefined;
    const line = Buffer.concat(this.#held);
    this.#held = [];
    return { line, rest: chunk.subarray(end) };
  }
}
