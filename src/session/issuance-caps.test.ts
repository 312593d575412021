import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { identity } from "./harness.fake.ts";
import { createIssuanceCaps, type IssuanceCapsOptions } from "./issuance-caps.ts";

function world(options: IssuanceCapsOptions) {
  let now = 1000;
  const caps = createIssuanceCaps({ monotonic: () => now }, options);
  const retryAfter = (take: () => void): number => {
    try {
      take();
      return 0;
    } catch (error) {
      if (!(error instanceof WayleaveError)) throw error;
      expect(error.code).toBe("issuance_capped");
      return error.retryAfterSeconds ?? Number.NaN;
    }
  };
  return {
    session: (who = identity()) => retryAfter(() => caps.session(who)),
    token: (who = identity()) => retryAfter(() => caps.token(who)),
    advance: (ms: number) => {
      now += ms;
    },
  };
}

const other = identity("1", { project: { id: "2000", path: "acme/other" } });
const sameIdElsewhere = identity("1", { issuer: "gitlab-2" });

describe("caps on what a project is issued", () => {
  test("let a minute's worth through at once, and then one at a time", () => {
    const { session, advance } = world({ sessionsPerMinute: 3 });
    expect([session(), session(), session(), session()]).toEqual([0, 0, 0, 20]);
    advance(19_000);
    expect(session()).toBe(1);
    advance(1_000);
    expect([session(), session()]).toEqual([0, 20]);
    advance(60_000);
    expect([session(), session(), session(), session()]).toEqual([0, 0, 0, 20]);
  });

  test("count each project for itself, and tell issuers apart", () => {
    const { session } = world({ sessionsPerMinute: 1 });
    expect([session(), session(other), session(sameIdElsewhere)]).toEqual([0, 0, 0]);
    expect([session(), session(other), session(sameIdElsewhere)]).toEqual([60, 60, 60]);
  });

  test("count sessions and tokens apart, and only what has a cap", () => {
    const { session, token } = world({ tokensPerMinute: 1 });
    expect([token(), token(), session(), session()]).toEqual([0, 60, 0, 0]);
  });

  test("law: in no minute are there more than twice the cap, and a refused one is not counted", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 300 }),
        (perMinute, pauses) => {
          const { session, advance } = world({ sessionsPerMinute: perMinute });
          let at = 0;
          const taken: number[] = [];
          for (const pause of pauses) {
            at += pause;
            advance(pause);
            if (session() === 0) taken.push(at);
          }
          return taken.every((first) => taken.filter((t) => t >= first && t < first + 60_000).length <= 2 * perMinute);
        },
      ),
    );
  });

  test("law: who waits as long as it was told is let in", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), (perMinute) => {
        const { session, advance } = world({ sessionsPerMinute: perMinute });
        const atOnce = Array.from({ length: perMinute }, () => session());
        const wait = session();
        advance(wait * 1000);
        return atOnce.every((answer) => answer === 0) && wait > 0 && session() === 0;
      }),
      { numRuns: 30 },
    );
  });
});
