import type { Clock } from "../core/clock.ts";
import type { Counts, LimitUse } from "../core/decision.ts";

/** Uses within sliding windows, kept in memory beside the decision. A restart forgets them: limits bound rates, not totals. */
export interface Limits extends Counts {
  /** One more use, for a request that was let through. */
  count(use: LimitUse): void;
}

interface Window {
  readonly times: number[];
  /** Index of the oldest use that may still count; what lies before it is cut off now and then. */
  from: number;
}

const maxKeys = 100_000;

/** Exact sliding-window counters on the monotonic clock. When there are too many keys, the one used longest ago is forgotten. */
export function createLimits(clock: Pick<Clock, "monotonic">): Limits {
  const windows = new Map<string, Window>();

  const advance = (window: Window, after: number): void => {
    while (window.from < window.times.length && (window.times[window.from] ?? 0) <= after) window.from++;
    if (window.from > 1024) {
      window.times.splice(0, window.from);
      window.from = 0;
    }
  };

  return {
    used(key, windowMs) {
      const window = windows.get(key);
      if (window === undefined) return 0;
      advance(window, clock.monotonic() - windowMs);
      return window.times.length - window.from;
    },
    freeInMs(key, windowMs, max) {
      const window = windows.get(key);
      if (window === undefined) return 0;
      const now = clock.monotonic();
      advance(window, now - windowMs);
      // The use whose leaving the window makes room for one more.
      const leaving = window.times[window.times.length - max];
      return leaving === undefined || leaving <= now - windowMs ? 0 : leaving + windowMs - now;
    },
    count({ key }) {
      const now = clock.monotonic();
      const window = windows.get(key);
      if (window === undefined) {
        if (windows.size >= maxKeys) windows.delete(windows.keys().next().value ?? "");
        windows.set(key, { times: [now], from: 0 });
        return;
      }
      window.times.push(now);
      windows.delete(key); // to the end: the map's order is the order of last use
      windows.set(key, window);
    },
  };
}
