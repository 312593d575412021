import fc from "fast-check";
import { expect, test } from "vitest";
import { keyWindows } from "./key-windows.ts";

test.each([
  { caches: [], maxAgeMs: 300_000, cacheMs: 300_000 },
  { caches: [60_000], maxAgeMs: 60_000, cacheMs: 60_000 },
  { caches: [3_600_000, 60_000], maxAgeMs: 60_000, cacheMs: 3_600_000 },
  { caches: [3_600_000], maxAgeMs: 300_000, cacheMs: 3_600_000 },
  { caches: [2_500], maxAgeMs: 2_000, cacheMs: 2_500 },
  { caches: [1], maxAgeMs: 1_000, cacheMs: 1_000 },
])("caches of $caches ms", ({ caches, maxAgeMs, cacheMs }) => {
  expect(keyWindows(caches)).toEqual({ maxAgeMs, cacheMs, windowMs: 2 * cacheMs });
});

test("a key set is always cacheable, for whole seconds, and the window is twice the longest any of it is kept", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 3_600_000 })), (caches) => {
      const { maxAgeMs, windowMs } = keyWindows(caches);
      expect(maxAgeMs % 1000).toBe(0);
      expect(maxAgeMs).toBeGreaterThanOrEqual(1000);
      for (const kept of [maxAgeMs, ...caches]) expect(windowMs).toBeGreaterThanOrEqual(2 * kept);
    }),
  );
});
