import fc from "fast-check";
import { expect, test } from "vitest";
import type { NatsDelivered, NatsPublished } from "../../core/nats-record.ts";
import type { AuditRecord } from "../../core/record.ts";
import { NatsTrafficSums } from "./story-traffic.ts";

const at = Date.parse("2026-11-24T09:30:12.114Z");
const place = { gateway: "nats-1", target: "events", account: "CI" };

function record(seq: number, kind: string, data: NatsPublished | NatsDelivered): AuditRecord {
  return {
    kind,
    data,
    v: 1,
    id: `rec_${String(seq).padStart(12, "0")}`,
    seq,
    time: new Date(at + seq).toISOString(),
  } as AuditRecord;
}

function published(
  seq: number,
  connection: string,
  first: number,
  sizes: readonly number[],
): AuditRecord & { kind: "nats.published" } {
  const messages = sizes.map((size) => `role a.b - 0 ${size}`);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const data = { ...place, connection, first, messages, bytes, policy: "41c0" };
  return record(seq, "nats.published", data) as AuditRecord & { kind: "nats.published" };
}

const brief = (whole: AuditRecord & { kind: "nats.published" }): AuditRecord => ({
  ...whole,
  data: { ...whole.data, messages: [] },
});

test("brief records and whole ones add up to the same, each connection by itself", () => {
  const bulk = fc.record({
    to: fc.constantFrom("a", "b"),
    sizes: fc.array(fc.nat(999), { minLength: 1, maxLength: 5 }),
    brief: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(bulk, { minLength: 1, maxLength: 10 }), (bulks) => {
      const sums = new NatsTrafficSums();
      const next = { a: 1, b: 1 };
      const wholes = bulks.map(({ to, sizes, brief: short }, index) => {
        const connection = to as "a" | "b";
        const whole = published(index, connection, next[connection], sizes);
        next[connection] += sizes.length;
        sums.add(short ? brief(whole) : whole);
        return whole;
      });
      const wanted = sums.wanted();
      const found = sums.sums(
        wholes.filter(({ id }) => wanted.includes(id)),
        false,
      );
      for (const { connection, published: sum } of found) {
        const sizes = bulks.filter(({ to }) => to === connection).flatMap((one) => one.sizes);
        expect(sum).toEqual({ messages: sizes.length, bytes: sizes.reduce((total, size) => total + size, 0) });
      }
      expect(wanted.length).toBeLessThanOrEqual(2);
    }),
  );
});

test("a record that is missing shows in the bytes, and at the end in the messages", () => {
  const sums = new NatsTrafficSums();
  sums.add(published(1, "a", 1, [10, 10]));
  sums.add(published(3, "a", 4, [10]));
  expect(sums.sums([], false)).toMatchObject([{ published: { messages: 4, bytes: 30 } }]);
});

test("deliveries add up, and the last message is the last of both", () => {
  const sums = new NatsTrafficSums();
  sums.add(published(1, "a", 1, [10]));
  const data = {
    ...place,
    connection: "a",
    messages: 3,
    bytes: 30,
    sid: "1",
    subject: "x",
    first_at: at,
    last_at: at + 7,
  };
  sums.add(record(50, "nats.delivered", data));
  sums.add(record(60, "nats.delivered", { ...data, last_at: at + 9 }));
  expect(sums.sums([], true)).toEqual([
    {
      connection: "a",
      gateway: "nats-1",
      published: { messages: 1, bytes: 10 },
      delivered: { messages: 6, bytes: 60 },
      lastAt: at + 9,
      cut: true,
    },
  ]);
});

test("other records add nothing", () => {
  const sums = new NatsTrafficSums();
  sums.add({
    kind: "broker.stopped",
    data: {},
    v: 1,
    id: "rec_000000000001",
    seq: 1,
    time: new Date(at).toISOString(),
  });
  expect([sums.wanted(), sums.sums([], false)]).toEqual([[], []]);
});
