import fc from "fast-check";
import { expect, test } from "vitest";
import { boundAdmissions } from "./callout-direct.ts";

/** Admissions that end when the test says. */
function held(atOnce: number, waiting: number) {
  const running: { readonly id: number; done(): void; fail(): void }[] = [];
  let now = 0;
  let most = 0;
  const admit = boundAdmissions(
    ({ id }: { readonly id: number; readonly deadline: number }) =>
      new Promise<number>((resolve, reject) => {
        running.push({ id, done: () => resolve(id), fail: () => reject(new Error(`no ${id}`)) });
        most = Math.max(most, running.length);
      }),
    { atOnce, waiting, now: () => now },
  );
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return {
    admit,
    running,
    settle,
    most: () => most,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

test("so many at once, the others in their order", async () => {
  const world = held(2, 10);
  const answers = [1, 2, 3, 4].map((id) => world.admit({ id, deadline: 100 }));
  expect(world.running.map(({ id }) => id)).toEqual([1, 2]);
  world.running.shift()?.done();
  await world.settle();
  expect(world.running.map(({ id }) => id)).toEqual([2, 3]);
  world.running.shift()?.fail();
  await expect(answers[1]).rejects.toThrow("no 2");
  await world.settle();
  for (const one of world.running) one.done();
  expect(await Promise.all([answers[0], answers[2], answers[3]])).toEqual(
    [1, 3, 4].map((grant) => ({ kind: "asked", grant })),
  );
  expect(world.most()).toBe(2);
});

test("past its deadline one is not asked about any more", async () => {
  const world = held(1, 10);
  const first = world.admit({ id: 1, deadline: 100 });
  const second = world.admit({ id: 2, deadline: 100 });
  const third = world.admit({ id: 3, deadline: 300 });
  world.pass(200);
  world.running.shift()?.done();
  expect([await first, await second]).toEqual([{ kind: "asked", grant: 1 }, { kind: "late" }]);
  await world.settle();
  world.running.shift()?.done();
  expect(await third).toEqual({ kind: "asked", grant: 3 });
});

test("when enough wait, nobody else does", async () => {
  const world = held(1, 1);
  const first = world.admit({ id: 1, deadline: 100 });
  const second = world.admit({ id: 2, deadline: 100 });
  expect(await world.admit({ id: 3, deadline: 100 })).toEqual({ kind: "overloaded" });
  world.running.shift()?.done();
  await first;
  await world.settle();
  world.running.shift()?.done();
  expect(await second).toEqual({ kind: "asked", grant: 2 });
  const again = world.admit({ id: 4, deadline: 100 });
  world.running.shift()?.done();
  expect(await again).toEqual({ kind: "asked", grant: 4 });
});

test("law: never more than so many, and everybody hears", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.nat({ max: 4 }),
      fc.array(fc.constantFrom("ask", "done", "fail", "wait"), { maxLength: 60 }),
      async (atOnce, waiting, steps) => {
        const world = held(atOnce, waiting);
        const answers: Promise<string>[] = [];
        for (const step of steps) {
          if (step === "ask") {
            const asked = world.admit({ id: answers.length, deadline: 100 });
            answers.push(
              asked.then(
                ({ kind }) => kind,
                () => "failed",
              ),
            );
          } else if (step === "wait") await world.settle();
          else world.running.shift()?.[step]();
          expect(world.running.length).toBeLessThanOrEqual(atOnce);
        }
        for (let round = 0; round <= answers.length; round++) {
          world.running.shift()?.done();
          await world.settle();
        }
        expect(await Promise.all(answers)).toHaveLength(answers.length);
      },
    ),
    { numRuns: 50 },
  );
});

test("one that comes in the very moment a place is free does not overtake who waits", async () => {
  const world = held(1, 10);
  const first = world.admit({ id: 1, deadline: 100 });
  const second = world.admit({ id: 2, deadline: 100 });
  world.running.shift()?.done();
  const third = first.then(() => world.admit({ id: 3, deadline: 100 }));
  await world.settle();
  expect(world.running.map(({ id }) => id)).toEqual([2]);
  world.running.shift()?.done();
  await second;
  await world.settle();
  world.running.shift()?.done();
  expect(await third).toEqual({ kind: "asked", grant: 3 });
});
