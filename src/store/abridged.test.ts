import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson } from "../audit/canonical-json.ts";
import { anyDelivered, anyPublished } from "../audit/nats-record.fake.ts";
import { anyDecision, anyEvent } from "../audit/record.fake.ts";
import type { AuditEvent } from "../core/record.ts";
import { abridge } from "./abridged.ts";
import { recordOf } from "./store.fake.ts";

const bytesOf = (event: AuditEvent) => Buffer.from(canonicalJson(recordOf(event, 7, 0)));

describe("a long record", () => {
  test("of published messages is itself without them, whatever they say", () => {
    fc.assert(
      fc.property(anyPublished, (event) => {
        const bytes = bytesOf(event);
        const brief = abridge(bytes);
        fc.pre(brief !== undefined);
        const whole = JSON.parse(bytes.toString());
        expect(JSON.parse(brief ?? "")).toEqual({ ...whole, data: { ...whole.data, messages: [] } });
      }),
    );
  });

  test("of deliveries is itself without each, whatever they say", () => {
    fc.assert(
      fc.property(anyDelivered, (event) => {
        const bytes = bytesOf(event);
        const brief = abridge(bytes);
        fc.pre(brief !== undefined);
        const whole = JSON.parse(bytes.toString());
        expect(JSON.parse(brief ?? "")).toEqual({ ...whole, data: { ...whole.data, each: [] } });
      }),
    );
  });

  test.each(["nats.published", "decision"])("that only calls itself %s somewhere is kept whole", (kind) => {
    const text = `"kind":"${kind}",],"policy":"","messages":[`.repeat(100);
    const event: AuditEvent = { kind: "exchange.refused", data: { code: text, detail: text } };
    expect(abridge(bytesOf(event))).toBeUndefined();
  });

  test("that was cut off is kept whole", () => {
    const text = canonicalJson({ kind: "nats.published", data: "x".repeat(3000), seq: 1 });
    expect(abridge(Buffer.from(text))).toBeUndefined();
  });
});

test("short records and those of other kinds are kept whole", () => {
  fc.assert(
    fc.property(fc.oneof(anyDecision, anyEvent), (event) => {
      const bytes = bytesOf(event);
      fc.pre(bytes.length < 2048 || !event.kind.startsWith("nats."));
      expect(abridge(bytes)).toBeUndefined();
    }),
  );
});
