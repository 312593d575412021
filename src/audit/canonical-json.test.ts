import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AuditRecord } from "../core/record.ts";
import { canonicalJson } from "./canonical-json.ts";
import { anyDelivered, anyPublished } from "./nats-record.fake.ts";
import { anyDecision, anyText } from "./record.fake.ts";
import { recordLine } from "./record-line.ts";

describe("canonicalJson writes", () => {
  test.each([
    {
      what: "the example of RFC 8785 §3.2.3",
      value: { "\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\u{1f600}": 5, "\u0080": 6, "\u00f6": 7 },
      text: '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\u{1f600}":5,"\ufb33":3}',
    },
    {
      what: "numbers as ECMAScript does",
      value: [333333333.3333333, 1e30, 4.5, 2e-3, 1e-27, -0],
      text: "[333333333.3333333,1e+30,4.5,0.002,1e-27,0]",
    },
    {
      what: "the escapes of §3.2.2.2 and no others",
      value: '\u20ac$\u000f\nA\'B"\\\\"/',
      text: '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"',
    },
    { what: "literals", value: [null, true, false], text: "[null,true,false]" },
    { what: "no members that are undefined", value: { b: undefined, a: {} }, text: '{"a":{}}' },
    { what: "a lone surrogate as U+FFFD, in names too", value: { "\ud800": "\udfff" }, text: '{"\ufffd":"\ufffd"}' },
  ])("$what", ({ value, text }) => {
    expect(canonicalJson(value)).toBe(text);
  });

  test("the same bytes whatever the order of members, and JSON that says the same", () => {
    fc.assert(
      fc.property(fc.dictionary(anyText, fc.jsonValue()), (value) => {
        const backwards = Object.fromEntries(Object.entries(value).toReversed());
        fc.pre(JSON.stringify(value).isWellFormed() && !JSON.stringify(value).includes("\\ud"));
        expect(canonicalJson(backwards)).toBe(canonicalJson(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, 1n, Symbol("s"), () => 0, [undefined]])(
  "canonicalJson refuses %o",
  (value) => {
    expect(() => canonicalJson(value)).toThrow(TypeError);
  },
);

test.each([
  { what: "a decision", events: anyDecision },
  { what: "published messages", events: anyPublished },
  { what: "delivered messages", events: anyDelivered },
])("the fast way to write $what equals the general one", ({ events }) => {
  fc.assert(
    fc.property(events, fc.integer({ min: 1 }), (event, seq) => {
      const record: AuditRecord = { ...event, v: 1, seq, id: "rec_abcd00000001", time: "2026-11-24T09:30:12.114Z" };
      expect(recordLine(record)).toBe(canonicalJson(record));
    }),
    { numRuns: 500 },
  );
});
