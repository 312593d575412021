import fc from "fast-check";
import { expect, test } from "vitest";
import { contradicts } from "../../core/nats-totals.ts";
import { PingOrder } from "./ping-order.ts";
import { createResponsePermits } from "./response-permits.ts";
import { isServerTaken } from "./server-version.ts";
import { Silence } from "./silence.ts";

const count = (messages: number, bytes = messages * 10) => ({ messages, bytes });
const ours = { published: count(10), arrived: count(20), uncounted: count(2) };

test.each([
  ["the same on both sides", count(10), count(20), true, false],
  ["no-responder answers that the server does not count", count(10), count(18), true, false],
  ["messages under way at a cut", count(9), count(25), false, false],
  ["more received than forwarded", count(11), count(20), false, true],
  ["more bytes received than forwarded", count(10, 101), count(20), false, true],
  ["less sent than arrived", count(10), count(17), false, true],
  ["fewer bytes sent than arrived", count(10), count(20, 179), false, true],
  ["less received, though all was drained", count(9), count(20), true, true],
  ["more sent, though all was drained", count(10), count(21), true, true],
] as const)("%s", (_, received, sent, drained, expected) => {
  expect(contradicts(ours, { received, sent }, drained)).toBe(expected);
});

test.each(["2.12.7", "2.12.8", "2.12.10", "2.13.0", "2.13.0-dev", "2.15.1", "v2.14.0", "3.0.0", "10.0.0"])(
  "nats-server %s is taken",
  (version) => expect(isServerTaken(version)).toBe(true),
);

test.each([
  "2.12.6",
  "2.12.7-RC.1",
  "2.9.99",
  "2.2.100",
  "1.99.99",
  "2.12",
  "",
  "latest",
  "2.12.7.1",
  "2.012.8x",
  " 2.15.1",
])("nats-server %s is not", (version) => expect(isServerTaken(version)).toBe(false));

test("PONGs come back to whoever asked, in the order of asking", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom("ours", "theirs", "answer"), { maxLength: 60 }), (steps) => {
      const order = new PingOrder();
      const queue: string[] = [];
      for (const step of steps) {
        if (step === "answer") expect(order.answer()).toBe(queue.shift());
        else {
          queue.push(step);
          if (step === "ours") order.askOurs();
          else order.askTheirs();
        }
        expect(order.ours).toBe(queue.filter((who) => who === "ours").length);
        expect(order.theirs).toBe(queue.filter((who) => who === "theirs").length);
      }
    }),
  );
});

test("a silent side is asked twice and then given up, and every word counts", () => {
  const silence = new Silence(10, 0);
  expect([9, 10, 15, 20, 25].map((now) => silence.check(now))).toEqual([undefined, "ask", undefined, "ask", undefined]);
  silence.heard(26);
  expect([30, 36, 46, 56].map((now) => silence.check(now))).toEqual([undefined, "ask", "ask", "dead"]);
});

test("a reply is answered once, in time, and only where it was delivered", () => {
  let now = 0;
  const permits = createResponsePermits({ max: 2, lifeMs: 100, now: () => now });
  permits.grant("a");
  expect([permits.use("b"), permits.use("a"), permits.use("a")]).toEqual([false, true, false]);
  permits.grant("late");
  now = 100;
  expect(permits.use("late")).toBe(false);
  for (const reply of ["x", "y", "x", "z"]) permits.grant(reply);
  expect(permits.size).toBe(2);
  expect([permits.use("y"), permits.use("x"), permits.use("z")]).toEqual([false, true, true]);
  permits.grant("l".repeat(513));
  expect(permits.size).toBe(0);
});
