import { expect, test } from "vitest";
import { recordContradicts } from "./nats-totals.ts";

const count = (messages: number) => ({ messages, bytes: messages * 10 });
const closed = { published: count(4), delivered: count(3), server: { received: count(4), sent: count(3) } };

test.each([
  { what: "the same counts", record: closed, contradicts: false },
  { what: "no totals of the server's", record: { published: count(4), delivered: count(3) }, contradicts: undefined },
  {
    what: "an answer that the server makes and does not count",
    record: { ...closed, delivered: count(4), unanswered: count(1) },
    contradicts: false,
  },
  {
    what: "messages that came too late to be delivered",
    record: { ...closed, delivered: count(1), arrived: count(3) },
    contradicts: false,
  },
  {
    what: "a cut, with messages under way to the server",
    record: { ...closed, published: count(6), cut: true as const },
    contradicts: false,
  },
  {
    what: "a cut, with messages under way from the server",
    record: { ...closed, delivered: count(1), cut: true as const },
    contradicts: false,
  },
  { what: "messages the server never got", record: { ...closed, published: count(6) }, contradicts: true },
  { what: "messages the gateway never forwarded", record: { ...closed, published: count(3) }, contradicts: true },
  { what: "the same after a cut", record: { ...closed, published: count(3), cut: true as const }, contradicts: true },
  { what: "messages the server never sent", record: { ...closed, delivered: count(5) }, contradicts: true },
  {
    what: "more unanswered than that explains",
    record: { ...closed, delivered: count(5), unanswered: count(1) },
    contradicts: true,
  },
])("$what: contradiction $contradicts", ({ record, contradicts }) => {
  expect(recordContradicts(record)).toBe(contradicts);
});
