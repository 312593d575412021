import fc from "fast-check";
import type { NatsEventData } from "../core/nats-record.ts";
import type { AuditEvent } from "../core/record.ts";

/** Any string at all, lone surrogates and controls included, and what could pass for JSON around a list. */
const anyText: fc.Arbitrary<string> = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    '],"policy":"',
    ',"messages":["',
    '"kind":"nats.published"',
    "\\ud800",
    "\ud800",
    '],"first_at":',
    "\\",
  ),
);
const place = {
  connection: fc.constantFrom("nc_aaaaaaaaaaaaaaaa", "nc_bbbbbbbbbbbbbbbb"),
  gateway: fc.constantFrom("nats-1", "nats-2"),
  account: anyText,
  target: fc.constantFrom("events", "jobs"),
};
const count = { bytes: fc.nat(), messages: fc.nat() };
const total = fc.record(count);
const ours = { published: total, delivered: total };
const totals = fc.record({ sent: total, received: total });

const token = fc.oneof(
  fc.constantFrom("build", "status", "7", "x"),
  fc.string({ minLength: 1 }).filter((text) => /^[^\s.*>]+$/.test(text)),
);
const subject = fc.array(token, { minLength: 1, maxLength: 4 }).map((tokens) => tokens.join("."));

/** A message as records have it. */
const anyMessage: fc.Arbitrary<string> = fc
  .tuple(fc.constantFrom("publish-status", "ask"), subject, fc.constantFrom("-", "_INBOX_a.b"), fc.nat(), fc.nat())
  .map((words) => words.join(" "));

/** Now few, now more than the index keeps. */
const messages = fc.oneof(
  fc.array(fc.oneof(anyMessage, anyText), { minLength: 1, maxLength: 5 }),
  fc.array(anyMessage, { minLength: 60, maxLength: 90 }),
);

function of<Kind extends keyof NatsEventData>(
  kind: Kind,
  members: { readonly [K in keyof NatsEventData[Kind]]-?: fc.Arbitrary<NonNullable<NatsEventData[Kind][K]>> },
  optional: readonly (keyof NatsEventData[Kind])[] = [],
): fc.Arbitrary<AuditEvent> {
  const requiredKeys = Object.keys(members).filter((name) => !optional.includes(name as keyof NatsEventData[Kind]));
  return fc.record({
    session: fc.constantFrom("ses_aaaaaaaaaaaaaaaa", "ses_bbbbbbbbbbbbbbbb"),
    data: fc.record(members, { requiredKeys: requiredKeys as (keyof NatsEventData[Kind])[] }),
    kind: fc.constant(kind),
  }) as unknown as fc.Arbitrary<AuditEvent>;
}

export const anyPublished: fc.Arbitrary<AuditEvent> = of("nats.published", {
  ...place,
  policy: anyText,
  messages,
  first: fc.integer({ min: 1 }),
  bytes: fc.nat(),
});

export const anyDelivered: fc.Arbitrary<AuditEvent> = of(
  "nats.delivered",
  { ...place, ...count, subject: anyText, sid: anyText, last_at: fc.nat(), first_at: fc.nat(), each: messages },
  ["each"],
);

/** Records of the traffic of connections. */
export const anyNatsEvent: fc.Arbitrary<AuditEvent> = fc.oneof(
  { arbitrary: anyPublished, weight: 3 },
  { arbitrary: anyDelivered, weight: 2 },
  of("nats.subscribed", { ...place, sid: anyText, subject: anyText, queue: anyText, rule: anyText, policy: anyText }, [
    "queue",
  ]),
  of("nats.unsubscribed", { ...place, sid: anyText, max: fc.nat() }, ["max"]),
  of(
    "nats.disconnected",
    {
      ...{ ...place, ...ours, reason: anyText, detail: anyText, denied: fc.nat(), server: totals },
      ...{ arrived: ours.published, unanswered: ours.published, cut: fc.constant(true as const) },
    },
    ["detail", "server", "arrived", "unanswered", "cut"],
  ),
  of("nats.mismatch", { ...place, gateway_counts: fc.record(ours), server_counts: totals }),
);
