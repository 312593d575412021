/** Less than this is not worth the call. */
const smallest = 4_096;

/**
 * Gives the memory of what a socket read back, once nobody looks at it any more. Left to the garbage collector, the megabytes
 * that pass through a busy connection each second make it go through the whole heap several times a second. Whoever still
 * looks sees no bytes. A chunk that shares its memory with others is left alone.
 */
export function freeChunk(chunk: Buffer): void {
  const { buffer, byteLength } = chunk;
  if (byteLength >= smallest && buffer.byteLength === byteLength) free(buffer);
}

/** The memory of what one writer gave and one socket took: given back once the writer has gone on and the socket is through. */
export class SentMemory {
  #current: ArrayBufferLike | undefined;
  #former: ArrayBufferLike[] = [];

  /**
   * To be told of everything the writer gave, in that order, each right after it was sent: then nothing of an earlier buffer
   * is still to be sent.
   * @param waiting Bytes that the socket has not given to the system.
   */
  sent(bytes: Buffer, waiting: number): void {
    if (bytes.length === 0) return;
    const { buffer } = bytes;
    if (this.#current !== undefined && this.#current !== buffer) this.#former.push(this.#current);
    this.#current = buffer;
    if (waiting === 0) this.drained();
  }

  /** The socket has given everything to the system. */
  drained(): void {
    if (this.#former.length === 0) return;
    for (const buffer of this.#former) if (buffer.byteLength >= smallest) free(buffer);
    this.#former = [];
  }
}

function free(memory: ArrayBufferLike): void {
  if (memory instanceof ArrayBuffer) memory.transfer(0);
}
