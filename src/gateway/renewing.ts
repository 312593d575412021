import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";

/** Runs something once, later; returns how to call it off. */
export type After = (ms: number, run: () => void) => () => void;

export interface RenewingOptions<T> {
  readonly clock: Clock;
  readonly after: After;
  /** Gets a new one. Asked once at a time, whoever waits. */
  get(): Promise<T>;
  /** ms since the epoch, by the wall clock; never used later. */
  goodUntil(value: T): number;
  /** Renews at least this often, ms; at half of the life that is left unless said. */
  readonly everyMs?: number;
  /** True for what may pass by itself: what is held stays good until it expires. Everything else takes it away at once. */
  passes(error: unknown): boolean;
}

const retryMs = 3000;
/** A failure answers everybody who asks within this time: a crowd that retries is one question. */
const failureLastsMs = 1000;
const leastWaitMs = 1000;
/** Longest time a timer can wait. */
const mostWaitMs = 2 ** 31 - 1;

/**
 * Something that expires, kept fresh while anybody follows it: renewed at half of its life. Where nobody follows it rests, and
 * only `current` gets anything.
 */
export class Renewing<T> {
  readonly #options: RenewingOptions<T>;
  readonly #listeners = new Set<() => void>();
  #held: { readonly value: T; readonly until: number; readonly renewAt: number } | undefined;
  #failure: { readonly error: unknown; readonly at: number } | undefined;
  #ended: Error | undefined;
  #asking: Promise<void> | undefined;
  #callOff: (() => void) | undefined;

  constructor(options: RenewingOptions<T>) {
    this.#options = options;
  }

  /** What is held, while it is good; undefined while the first one is on its way. Throws why there is none. */
  latest(): T | undefined {
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#held !== undefined && this.#options.clock.now() < this.#held.until) return this.#held.value;
    if (this.#failure !== undefined) throw this.#failure.error;
    return undefined;
  }

  /** As `latest`, waiting for a new one where it is due; an old one that is good stands in for an outage. */
  async current(): Promise<T> {
    if (this.#ended === undefined && this.#due && !this.#failedJustNow) await this.renew();
    const value = this.latest();
    if (value === undefined) throw expiredOnArrival();
    return value;
  }

  /** Calls back whenever `latest` would say something else, and keeps it fresh. Returns how to stop. */
  follow(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#ended === undefined && this.#due && !this.#failedJustNow) void this.renew();
    else if (this.#asking === undefined && this.#callOff === undefined) this.#schedule();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#schedule();
    };
  }

  /** Gets a new one now, whatever is held. Never rejects: `latest` says what came of it. */
  renew(): Promise<void> {
    this.#asking ??= this.#ask();
    return this.#asking;
  }

  /** From now on there is none, for this reason: final. */
  end(error: Error): void {
    this.#ended ??= error;
    this.#held = undefined;
    this.#schedule();
    this.#tell();
  }

  get #due(): boolean {
    return this.#held === undefined || this.#options.clock.now() >= this.#held.renewAt;
  }

  get #failedJustNow(): boolean {
    return this.#failure !== undefined && this.#options.clock.monotonic() - this.#failure.at < failureLastsMs;
  }

  async #ask(): Promise<void> {
    const { clock, get, goodUntil, passes, everyMs = Number.POSITIVE_INFINITY } = this.#options;
    try {
      const value = await get();
      const now = clock.now();
      const until = goodUntil(value);
      // Written so that a time that is none is refused too.
      if (!(until > now)) throw expiredOnArrival();
      this.#held = { value, until, renewAt: now + Math.min((until - now) / 2, everyMs) };
      this.#failure = undefined;
    } catch (error) {
      if (!passes(error)) this.#held = undefined;
      this.#failure = { error, at: clock.monotonic() };
    }
    this.#asking = undefined;
    this.#schedule();
    this.#tell();
  }

  #schedule(): void {
    this.#callOff?.();
    this.#callOff = undefined;
    if (this.#listeners.size === 0 || this.#ended !== undefined) return;
    const { clock, after } = this.#options;
    const due = this.#failure === undefined && this.#held !== undefined ? this.#held.renewAt - clock.now() : retryMs;
    this.#callOff = after(Math.min(Math.max(due, leastWaitMs), mostWaitMs), () => void this.renew());
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

function expiredOnArrival(): WayleaveError {
  return new WayleaveError(
    "broker_unreachable",
    "What came had expired already by this machine's clock. Set the clock, and retry.",
  );
}
