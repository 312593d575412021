import type { Duplex } from "node:stream";

/** What becomes of one side's socket. Nothing here may throw; what does is told to `fault`. */
export interface SocketEvents {
  data(chunk: Buffer): void;
  /** Its own socket takes no more for now, and takes more again. */
  full(): void;
  drained(): void;
  /** The other end said all it will say, or is gone. Once. */
  ended(): void;
  fault(error: unknown): void;
}

/**
 * One side of a connection. It reads as long as nobody holds it, each for a reason of their own, and writes without
 * waiting: who writes hears of `full`. No error of a socket gets past it: it is an end.
 */
export class WireSocket {
  readonly #stream: Duplex;
  readonly #events: SocketEvents;
  readonly #holds = new Set<string>();
  #full = false;
  #ended = false;

  constructor(stream: Duplex, events: SocketEvents) {
    this.#stream = stream;
    this.#events = events;
    const guard =
      <T extends unknown[]>(work: (...given: T) => void) =>
      (...given: T) => {
        try {
          work(...given);
        } catch (error) {
          events.fault(error);
        }
      };
    const ended = guard(() => this.#end());
    stream.on(
      "data",
      guard((chunk: Buffer) => this.#read(chunk)),
    );
    stream.on(
      "drain",
      guard(() => this.#drained()),
    );
    stream.on("end", ended).on("close", ended).on("error", ended);
  }

  /** What was written and is still here. */
  get waiting(): number {
    return this.#stream.writableLength;
  }

  /** Whether it is not being read. */
  get held(): boolean {
    return this.#holds.size > 0;
  }

  send(bytes: Buffer | string): void {
    if (bytes.length === 0 || !this.#stream.writable) return;
    const takesMore = this.#stream.write(bytes);
    if (takesMore || this.#full) return;
    this.#full = true;
    this.#events.full();
  }

  /** Reads nothing more until everybody who held it has released it. */
  hold(reason: string): void {
    this.#holds.add(reason);
    this.#stream.pause();
  }

  release(reason: string): void {
    if (!this.#holds.delete(reason) || this.#holds.size > 0 || this.#ended) return;
    this.#stream.resume();
  }

  /** The last word, without waiting for the other end to take it; what it still says is not listened to. */
  finish(bytes: Buffer | string): void {
    this.#ended = true;
    if (!this.#stream.writable) return;
    this.#stream.end(bytes);
    this.#stream.resume(); // an unread rest would turn the end into a reset, and the last word would be lost
  }

  destroy(): void {
    this.#ended = true;
    this.#stream.destroy();
  }

  #read(chunk: Buffer): void {
    if (this.#ended) return;
    this.#events.data(chunk);
  }

  #drained(): void {
    if (!this.#full) return;
    this.#full = false;
    if (!this.#ended) this.#events.drained();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#events.ended();
  }
}
