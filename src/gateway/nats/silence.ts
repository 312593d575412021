/** After so many questions without a word, nobody is there. */
const mostAsked = 2;

/** When one side of a connection was last heard of, in monotonic ms. */
export class Silence {
  readonly #askAfterMs: number;
  #since: number;
  #asked = 0;

  constructor(askAfterMs: number, now: number) {
    this.#askAfterMs = askAfterMs;
    this.#since = now;
  }

  heard(now: number): void {
    this.#since = now;
    this.#asked = 0;
  }

  /** Whether the side is to be asked if it lives, or does not. */
  check(now: number): "ask" | "dead" | undefined {
    if (now - this.#since < this.#askAfterMs) return undefined;
    this.#since = now;
    if (this.#asked >= mostAsked) return "dead";
    this.#asked++;
    return "ask";
  }
}
