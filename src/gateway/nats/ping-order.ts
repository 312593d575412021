/** Whose question a PONG answers, where two ask over one line: they come back in the order they went out. */
export class PingOrder {
  /** How many of theirs went out before each of ours that is still unanswered, counted from the one before it. */
  readonly #beforeOurs: number[] = [];
  #theirs = 0;

  /** Ours that are unanswered. */
  get ours(): number {
    return this.#beforeOurs.length;
  }

  /** Theirs that are unanswered. */
  get theirs(): number {
    return this.#beforeOurs.reduce((sum, count) => sum + count, this.#theirs);
  }

  askOurs(): void {
    this.#beforeOurs.push(this.#theirs);
    this.#theirs = 0;
  }

  askTheirs(): void {
    this.#theirs++;
  }

  /** A PONG came; undefined where nobody asked. */
  answer(): "ours" | "theirs" | undefined {
    const [before] = this.#beforeOurs;
    if (before === 0) {
      this.#beforeOurs.shift();
      return "ours";
    }
    if (before !== undefined) {
      this.#beforeOurs[0] = before - 1;
      return "theirs";
    }
    if (this.#theirs === 0) return undefined;
    this.#theirs--;
    return "theirs";
  }
}
