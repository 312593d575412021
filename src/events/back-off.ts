const firstMs = 2_000;
const longestMs = 5 * 60_000;
const longestAskedMs = 3_600_000;

/** ms to wait before the next of `tries` attempts: doubling from 2 s to 5 min, or as long as the CI asked (at most an hour). */
export function backOffMs(tries: number, askedMs = 0): number {
  const own = Math.min(firstMs * 2 ** Math.min(Math.max(tries, 1) - 1, 20), longestMs);
  return Math.max(own, Math.min(askedMs, longestAskedMs));
}
