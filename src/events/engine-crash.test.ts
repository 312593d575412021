import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CiMood, FakeWorld, message } from "./event-world.fake.ts";
import type { Verdict } from "./start-attempts.ts";

const ackWaitMs = 30_000;

/**
 * Delivers one message as a stream does, again and again, to a broker that dies after each of `lives` steps and is started
 * again, until it is acknowledged or given up. `lostAcks` acknowledgements do not arrive.
 */
async function deliver(world: FakeWorld, lives: readonly number[], lostAcks = 0): Promise<Verdict | undefined> {
  const left = [...lives];
  let acksToLose = lostAcks;
  for (let deliveries = 1; deliveries <= 60; deliveries++) {
    const life = left.shift();
    if (life !== undefined) world.crashAfter(life);
    const hold = async (ms: number): Promise<boolean> => {
      world.now += ms;
      return true;
    };
    const verdict = await world.engine.handle("deploy-image", message({ deliveries }), hold);
    expect(world.ci.made.length).toBeLessThanOrEqual(1);
    if (world.crashed) {
      world.restart();
      world.now += ackWaitMs;
    } else if (verdict.kind === "later") {
      world.now += verdict.afterMs;
    } else if (verdict.kind === "ack" && acksToLose > 0) {
      acksToLose -= 1;
      world.now += ackWaitMs;
    } else {
      return verdict;
    }
    world.crashAfter(Number.POSITIVE_INFINITY);
  }
  return undefined;
}

const moods = fc.array(fc.constantFrom<CiMood>("ok", "answer_lost", "late", "request_lost", "limited"), {
  maxLength: 6,
});

describe("one message starts exactly one pipeline", () => {
  test("wherever the broker dies, however often, and whatever answers are lost", async () => {
    const lives = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(moods, lives, fc.nat({ max: 2 }), async (sequence, lifeTimes, lostAcks) => {
        const world = new FakeWorld();
        world.ci.moods = sequence;
        expect(await deliver(world, lifeTimes, lostAcks)).toEqual({ kind: "ack" });
        world.now += 600_000;
        expect(world.ci.pipelines.map(({ id }) => id)).toEqual(["5101"]);
        expect(world.table.causeOf("gitlab", "2000", "5101")).toMatchObject({ event: "deploy-image", depth: 1 });
        expect(world.table.unsettled()).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });

  test.each([1, 2, 3, 4, 5, 6, 7])("dying at step %i of the first delivery", async (step) => {
    const world = new FakeWorld();
    expect(await deliver(world, [step])).toEqual({ kind: "ack" });
    expect(world.ci.made).toHaveLength(1);
  });

  test("a look-up that finds nothing is not believed while a late request may still make one", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["late"];
    const first = await world.engine.handle("deploy-image", message(), async () => true);
    expect(first).toEqual({ kind: "later", afterMs: 2000 });
    world.now += 2000;
    const second = await world.engine.handle("deploy-image", message({ deliveries: 2 }), async () => true);
    expect(second).toEqual({ kind: "later", afterMs: 78_000 });
    world.now += 78_000;
    expect(await world.engine.handle("deploy-image", message({ deliveries: 3 }), async () => true)).toEqual({
      kind: "ack",
    });
    expect([world.ci.requests, world.ci.made.length]).toEqual([1, 1]);
  });

  test("a disk that is full records nothing, so nothing is started; afterwards it is", async () => {
    const world = new FakeWorld();
    world.failAppends = 1;
    expect(await world.engine.handle("deploy-image", message(), async () => true)).toEqual({
      kind: "later",
      afterMs: 2000,
    });
    expect(world.ci.requests).toBe(0);
    expect(await deliver(world, [])).toEqual({ kind: "ack" });
    expect(world.ci.made).toHaveLength(1);
  });

  test("a disk that is full after the start: the pipeline is found, not started again", async () => {
    const world = new FakeWorld();
    const { append } = world.recorder;
    let appends = 0;
    Object.assign(world.recorder, {
      append: (events: Parameters<typeof append>[0]) => {
        appends += 1;
        if (appends === 2) world.failAppends = 1;
        return append(events);
      },
    });
    expect(await deliver(world, [])).toEqual({ kind: "ack" });
    expect([world.ci.requests, world.records.at(-1)]).toMatchObject([
      1,
      { kind: "event.started", data: { by: "look_up" } },
    ]);
  });

  test("all attempts for it carry one cause, so that whichever pipeline appears is known", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["limited", "request_lost"];
    await deliver(world, []);
    const pending = world.records.flatMap((record) => (record.kind === "event.pending" ? [record.data] : []));
    expect(pending.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    expect(new Set(pending.map(({ cause }) => cause)).size).toBe(1);
  });

  test("two deliveries of it at once, as after a time to acknowledge that was too short", async () => {
    const world = new FakeWorld();
    const hold = async () => true;
    const verdicts = await Promise.all(
      [1, 2, 3].map((deliveries) => world.engine.handle("deploy-image", message({ deliveries }), hold)),
    );
    expect(verdicts).toEqual([{ kind: "ack" }, { kind: "ack" }, { kind: "ack" }]);
    expect(world.ci.requests).toBe(1);
  });

  test("a stream made anew counts from 1 again: another message of the same number is another message", async () => {
    const world = new FakeWorld();
    await world.engine.handle("deploy-image", message(), async () => true);
    world.now += 60_000;
    await world.engine.handle("deploy-image", message({ storedAt: world.now }), async () => true);
    expect(world.ci.made).toHaveLength(2);
  });
});

describe("where the CI cannot say whether it started", () => {
  test("it is never started twice by guessing: a dead letter says so", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["answer_lost"];
    world.ci.findFinal = "GitLab's API answered 403 to a look-up.";
    expect(await deliver(world, [])).toEqual({ kind: "term", reason: "uncertain" });
    expect(world.ci.requests).toBe(1);
    expect(world.table.unsettled()).toMatchObject([{ state: "dead", code: "uncertain", open: true }]);
  });

  test("without any credential it is a dead letter too, and no look-up is made up", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["answer_lost"];
    await world.engine.handle("deploy-image", message(), async () => true);
    world.hasCredential = false;
    expect(await deliver(world, [])).toEqual({ kind: "term", reason: "uncertain" });
  });

  test("an outage that lasts ends in a dead letter, after hours", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["request_lost"];
    world.ci.blind = true;
    expect(await deliver(world, [])).toEqual({ kind: "term", reason: "gave_up" });
    expect(world.now - Date.parse("2026-11-24T09:30:00Z")).toBeGreaterThan(2 * 3_600_000);
    expect(world.table.unsettled()).toMatchObject([{ state: "dead", open: true }]);
  });
});

describe("limits", () => {
  test("a storm of 429s is waited out, and no other message disturbs the CI meanwhile", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["limited"];
    const waits: number[] = [];
    const hold = async (ms: number): Promise<boolean> => {
      waits.push(ms);
      world.now += ms;
      return true;
    };
    expect(await world.engine.handle("deploy-image", message(), hold)).toEqual({ kind: "later", afterMs: 60_000 });
    await world.engine.handle("deploy-image", message({ sequence: 18 }), hold);
    expect([waits, world.ci.made.length]).toEqual([[60_000], 1]);
  });

  test("a refusal with 429 needs no look-up; after a crash one is made", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["limited"];
    await deliver(world, []);
    expect([world.ci.requests, world.ci.looks]).toEqual([2, 0]);
  });

  test("the event's own limit holds across restarts", async () => {
    const world = new FakeWorld();
    const waits: number[] = [];
    const hold = async (ms: number): Promise<boolean> => {
      waits.push(ms);
      world.now += ms;
      return true;
    };
    for (let sequence = 1; sequence <= 10; sequence++)
      await world.engine.handle("deploy-image", message({ sequence }), hold);
    expect(waits).toEqual([]);
    world.restart();
    world.now += 10_000;
    await world.engine.handle("deploy-image", message({ sequence: 11 }), hold);
    expect([waits, world.ci.made.length]).toEqual([[50_000], 11]);
  });

  test("a wait that is cut short by a stop hands the message back", async () => {
    const world = new FakeWorld();
    world.ci.moods = ["limited"];
    await world.engine.handle("deploy-image", message(), async () => false);
    const verdict = await world.engine.handle("deploy-image", message({ sequence: 18 }), async () => false);
    expect([verdict, world.ci.requests]).toEqual([{ kind: "later", afterMs: 0 }, 1]);
  });
});
