import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createLimits } from "./limits.ts";

const windowMs = 1000;
const key = "release/role";

function countedAt(times: readonly number[]) {
  let now = 0;
  const limits = createLimits({ monotonic: () => now });
  for (const time of times) {
    now = time;
    limits.count({ key, windowMs, max: 1 });
  }
  return { limits, at: (time: number) => (now = time) };
}

describe("a sliding window", () => {
  test("counts a use until a window later, and keys apart", () => {
    const { limits, at } = countedAt([0, 500]);
    expect(limits.used(key, windowMs)).toBe(2);
    expect(limits.used("other", windowMs)).toBe(0);
    at(1000);
    expect(limits.used(key, windowMs)).toBe(1);
    at(1500);
    expect(limits.used(key, windowMs)).toBe(0);
  });

  test("says when there is room again, and not earlier", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 3000 }), { maxLength: 30 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 0, max: 1500 }),
        (uses, max, later) => {
          const times = uses.toSorted((a, b) => a - b);
          const now = (times.at(-1) ?? 0) + later;
          const { limits, at } = countedAt(times);
          at(now);
          const wait = limits.freeInMs?.(key, windowMs, max) ?? Number.NaN;
          if (limits.used(key, windowMs) < max) expect(wait).toBe(0);
          else expect(wait).toBeGreaterThan(0);
          if (wait > 0) {
            at(now + wait - 1);
            expect(limits.used(key, windowMs)).toBeGreaterThanOrEqual(max);
          }
          at(now + wait);
          expect(limits.used(key, windowMs)).toBeLessThan(max);
        },
      ),
    );
  });

  test("of a rate no smaller than its window's uses never waits longer than the window", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 900 }), { minLength: 1, maxLength: 30 }), (uses) => {
        const { limits } = countedAt(uses.toSorted((a, b) => a - b));
        expect(limits.freeInMs?.(key, windowMs, 1)).toBeLessThanOrEqual(windowMs);
      }),
    );
  });
});
