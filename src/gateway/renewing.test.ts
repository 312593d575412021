import { beforeEach, describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { Renewing } from "./renewing.ts";

let now = 0;
let timers: { at: number; run: () => void }[] = [];
let asked = 0;
/** What `get` does next: gives something good for so many ms, or fails. */
let next: number | Error = 1000;

const outage = new WayleaveError("broker_unreachable", "gone");
const refusal = new WayleaveError("session_ended", "over");

beforeEach(() => {
  now = 1_000_000;
  timers = [];
  asked = 0;
  next = 100_000;
});

interface Good {
  readonly number: number;
  readonly until: number;
}

function kept(everyMs?: number): Renewing<Good> {
  return new Renewing<Good>({
    clock: { now: () => now, monotonic: () => now },
    after(ms, run) {
      const timer = { at: now + ms, run };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer), 1);
    },
    async get() {
      asked += 1;
      if (next instanceof Error) throw next;
      return { number: asked, until: now + next };
    },
    goodUntil: ({ until }) => until,
    passes: (error) => error === outage,
    ...(everyMs === undefined ? {} : { everyMs }),
  });
}

/** Lets time pass to the next timer, and what it starts come to its end. */
async function tick(): Promise<void> {
  const timer = timers.toSorted((a, b) => a.at - b.at)[0];
  if (timer === undefined) return;
  timers.splice(timers.indexOf(timer), 1);
  now = Math.max(now, timer.at);
  timer.run();
  await settled();
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("something that is kept fresh", () => {
  test("asks for nothing until somebody wants it, and then once for all who wait", async () => {
    const value = kept();
    expect(asked).toBe(0);
    expect(await Promise.all([value.current(), value.current(), value.current()])).toMatchObject([{}, {}, {}]);
    expect(asked).toBe(1);
  });

  test("is renewed at half of its life while it is followed, and told", async () => {
    const value = kept();
    const told: (number | undefined)[] = [];
    value.follow(() => told.push(value.latest()?.number));
    await settled();
    await tick();
    expect(now).toBe(1_050_000);
    expect(told).toEqual([1, 2]);
  });

  test("is renewed more often where that is asked for", async () => {
    const value = kept(10_000);
    value.follow(() => undefined);
    await settled();
    await tick();
    expect(now).toBe(1_010_000);
  });

  test("rests once nobody follows it", async () => {
    const value = kept();
    const stop = value.follow(() => undefined);
    await settled();
    stop();
    expect(timers).toEqual([]);
  });

  test("an outage takes nothing away until it expires, and is tried through", async () => {
    const value = kept();
    value.follow(() => undefined);
    await settled();
    next = outage;
    await tick();
    expect(value.latest()?.number).toBe(1);
    expect((await value.current()).number).toBe(1);
    while (now < 1_100_000) await tick();
    expect(() => value.latest()).toThrow(outage);
    next = 100_000;
    await tick();
    expect(value.latest()?.number).toBeGreaterThan(1);
  });

  test("a refusal takes away what was still good, at once", async () => {
    const value = kept();
    let told = 0;
    value.follow(() => (told += 1));
    await settled();
    next = refusal;
    await tick();
    expect(() => value.latest()).toThrow(refusal);
    expect(told).toBe(2);
    await expect(value.current()).rejects.toBe(refusal);
  });

  test("a refusal is no last word: whoever asks later may get one", async () => {
    const value = kept();
    next = refusal;
    await expect(value.current()).rejects.toBe(refusal);
    next = 100_000;
    await expect(value.current(), "within the second, the same answer").rejects.toBe(refusal);
    now += 1001;
    expect((await value.current()).number).toBe(2);
  });

  test("a crowd that comes back after a failure is one question", async () => {
    const value = kept();
    next = refusal;
    await Promise.allSettled(Array.from({ length: 1000 }, () => value.current()));
    await Promise.allSettled(Array.from({ length: 1000 }, () => value.current()));
    expect(asked).toBe(1);
  });

  test.each([
    { life: 0, what: "that expires as it comes" },
    { life: -5000, what: "that has expired" },
    { life: Number.NaN, what: "that does not say how long it is good" },
  ])("something $what is never used", async ({ life }) => {
    next = life;
    const value = kept();
    await expect(value.current()).rejects.toMatchObject({ code: "broker_unreachable" });
    expect(() => value.latest()).toThrow("clock");
  });

  test("an end is final, also for what comes back after it", async () => {
    const value = kept();
    value.follow(() => undefined);
    const late = value.current();
    value.end(refusal);
    await expect(late).rejects.toBe(refusal);
    await settled();
    expect(() => value.latest()).toThrow(refusal);
    expect(timers).toEqual([]);
    const before = asked;
    await expect(value.current()).rejects.toBe(refusal);
    value.follow(() => undefined);
    expect(asked).toBe(before);
  });
});
