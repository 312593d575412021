import type { Clock } from "../core/clock.ts";

/**
 * Lets through what is to be recorded of refusals that anybody can cause: at most `perMinute` in a minute, so that a flood becomes
 * a few records and never fills a disk. `write` is given what to append to the detail: how many before it were not recorded.
 */
export function createRefusalFlood(
  clock: Pick<Clock, "monotonic">,
  perMinute: number,
): (write: (more: string) => void) => void {
  let minuteAt = Number.NEGATIVE_INFINITY;
  let written = 0;
  let unwritten = 0;
  return (write) => {
    const now = clock.monotonic();
    if (now - minuteAt >= 60_000) {
      minuteAt = now;
      written = 0;
    }
    if (written >= perMinute) {
      unwritten++;
      return;
    }
    written++;
    const more = unwritten === 0 ? "" : `; ${unwritten} more before it were not recorded`;
    unwritten = 0;
    write(more);
  };
}
