/** How long key sets are kept, all in ms. */
export interface KeyWindows {
  /** `max-age` of our JWKS. */
  readonly maxAgeMs: number;
  /** After this, everybody who keeps a key set has asked again. */
  readonly cacheMs: number;
  /** How long a prepared key is published before it signs: one cache time to be fetched, and one to spare. */
  readonly windowMs: number;
}

/** Longest `max-age`: what a verifier that no configuration names may keep. */
const longestMaxAgeMs = 5 * 60_000;

/** How often members of the trust domain read its bundle again: its `spiffe_refresh_hint`, in seconds. */
export const bundleRefreshSeconds = 300;

/** The windows of a class, from the time each gateway or reader keeps its keys. Never shorter than a second. */
export function keyWindows(cachesMs: readonly number[]): KeyWindows {
  const shortest = Math.min(longestMaxAgeMs, ...cachesMs);
  const maxAgeMs = Math.max(1, Math.floor(shortest / 1000)) * 1000;
  const cacheMs = Math.max(maxAgeMs, ...cachesMs);
  return { maxAgeMs, cacheMs, windowMs: 2 * cacheMs };
}
