import { expect, test } from "vitest";
import type { AuditEvent } from "../../core/record.ts";
import { PublishBatch } from "./publish-batch.ts";

const place = { gateway: "nats-1", connection: "nc_1", target: "events", account: "CI" };
const other: AuditEvent = { kind: "broker.stopped", data: {} };

function batch(limits: { rows?: number; rowCharacters?: number } = {}) {
  return new PublishBatch(place, { session: "ses_1" }, { rows: 100, rowCharacters: 10_000, ...limits });
}

const runs = (events: readonly AuditEvent[]) =>
  events.map((event) => (event.kind === "nats.published" ? [event.data.first, ...event.data.messages] : event.kind));

test("messages that follow one another share a record, which adds up their bytes", () => {
  const made = batch();
  made.message("a", 10, "p");
  made.message("b", 20, "p");
  expect(made.take()).toEqual([
    {
      kind: "nats.published",
      session: "ses_1",
      data: { ...place, first: 1, messages: ["a", "b"], bytes: 30, policy: "p" },
    },
  ]);
  expect([made.take(), made.next]).toEqual([[], 3]);
});

test("another record, another policy and too many rows each begin a new one; the numbers go on", () => {
  const made = batch({ rows: 2 });
  made.message("a", 1, "p");
  made.event(other);
  for (const row of ["b", "c", "d"]) made.message(row, 1, "p");
  made.message("e", 1, "q");
  expect(runs(made.take())).toEqual([[1, "a"], "broker.stopped", [2, "b", "c"], [4, "d"], [5, "e"]]);
  made.message("f", 1, "q");
  expect(runs(made.take())).toEqual([[6, "f"]]);
});

test("rows are bounded by their length too", () => {
  const made = batch({ rowCharacters: 5 });
  for (const row of ["abc", "def", "ghi"]) made.message(row, 1, "p");
  expect(runs(made.take())).toEqual([
    [1, "abc", "def"],
    [3, "ghi"],
  ]);
});
