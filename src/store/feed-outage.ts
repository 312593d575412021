import { WayleaveError } from "../core/errors.ts";

/** The database cannot be reached, or does not do what it is asked. */
export function unavailable(cause: unknown): WayleaveError {
  const code = cause instanceof Error && "code" in cause ? ` (${String(cause.code)})` : "";
  return new WayleaveError(
    "store_unavailable",
    `The database gives no answer${code}, so nothing is allowed or minted. The broker goes on by itself when it is back.`,
    { cause },
  );
}

export function overloaded(): WayleaveError {
  return new WayleaveError(
    "store_unavailable",
    "Records come faster than the database takes them, and nothing is answered unrecorded. Ask again shortly; a faster database helps.",
  );
}

export function conflict(): WayleaveError {
  return new WayleaveError("store_conflict", "This token was used at another broker at this very moment. Ask again.");
}

export function stopping(): WayleaveError {
  return new WayleaveError("store_unavailable", "The broker is stopping; ask again when it is back.");
}

/** When the database was last heard of. */
export interface Freshness {
  /** What was asked now has been answered. */
  heardSince(asked: Instant): void;
  now(): Instant;
  /** True where nothing was heard for too long, by either clock: a machine that slept lost time that one of them did not count. */
  stale(): boolean;
}

interface Instant {
  readonly wall: number;
  readonly monotonic: number;
}

export function trackFreshness(clock: { now(): number; monotonic(): number }, staleAfterMs: number): Freshness {
  const now = (): Instant => ({ wall: clock.now(), monotonic: clock.monotonic() });
  let heard = now();
  return {
    now,
    heardSince(asked) {
      if (asked.monotonic > heard.monotonic) heard = asked;
    },
    stale() {
      const { wall, monotonic } = now();
      return Math.max(wall - heard.wall, monotonic - heard.monotonic) > staleAfterMs;
    },
  };
}
