import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { z } from "zod";
import type { AuditRecord, EventData, RecordKind } from "../core/record.ts";
import { anyEvent, identity } from "./record.fake.ts";
import { dataSchemas, recordJsonSchema, recordSchema } from "./record-schema.ts";

type Forgotten = {
  [K in RecordKind]: Exclude<keyof EventData[K], keyof z.output<(typeof dataSchemas)[K]>>;
}[RecordKind];

const record = {
  v: 1,
  id: "rec_abcd00000001",
  seq: 1,
  time: "2026-11-24T09:30:12.114Z",
  kind: "session.ended",
  data: { reason: "client_end" },
};

/** Members of an interface, as its source has them. */
function membersOf(file: string, name: string): readonly (string | undefined)[] {
  const source = readFileSync(new URL(file, import.meta.url), "utf8");
  const [, body = ""] = new RegExp(`^export interface ${name}\\s[^{]*{$(.*?)^}$`, "ms").exec(source) ?? [];
  return [...body.matchAll(/^ {2}readonly "?([a-z._]+)"?:/gm)].map(([, kind]) => kind);
}

test("the schema has exactly the kinds of core/record.ts, and every member of each", () => {
  const nats = membersOf("../core/nats-record.ts", "NatsEventData");
  expect(nats.length).toBeGreaterThan(5);
  const events = membersOf("../core/event-record.ts", "EventRecordData");
  expect(events.length).toBeGreaterThan(4);
  const operators = membersOf("../core/operator-record.ts", "OperatorRecordData");
  expect(operators.length).toBeGreaterThan(5);
  const streams = membersOf("../core/stream-record.ts", "StreamEventData");
  const breakglass = membersOf("../core/breakglass-record.ts", "BreakglassRecordData");
  expect(breakglass).toHaveLength(1);
  const policies = membersOf("../core/policy-record.ts", "PolicyRecordData");
  expect(policies.length).toBeGreaterThan(5);
  const kinds = [
    ...membersOf("../core/record.ts", "EventData"),
    ...nats,
    ...events,
    ...operators,
    ...streams,
    ...breakglass,
    ...policies,
  ];
  expect(kinds.length).toBeGreaterThan(30);
  expect(Object.keys(dataSchemas).toSorted()).toEqual(kinds.toSorted());
  const nothingForgotten: [Forgotten] extends [never] ? true : Forgotten = true;
  expect(nothingForgotten).toBe(true);
});

test("the schema accepts every record the journal writes", () => {
  fc.assert(
    fc.property(anyEvent, (event) => {
      const written: AuditRecord = { ...event, v: 1, id: record.id, seq: 1, time: record.time };
      expect(recordSchema.parse(JSON.parse(JSON.stringify(written)))).toEqual(JSON.parse(JSON.stringify(written)));
    }),
  );
});

describe("the schema refuses", () => {
  test.each([
    { what: "an unknown kind", change: { kind: "session.paused" } },
    { what: "an unknown member", change: { colour: "red" } },
    { what: "an unknown member of the data", change: { data: { reason: "client_end", token: "secret" } } },
    { what: "a missing member of the data", change: { data: {} } },
    { what: "an unknown reason", change: { data: { reason: "boredom" } } },
    { what: "another version", change: { v: 2 } },
    { what: "a malformed id", change: { id: "rec_1" } },
    { what: "a number below one", change: { seq: 0 } },
    { what: "a time without milliseconds", change: { time: "2026-11-24T09:30:12Z" } },
    { what: "a time that is not UTC", change: { time: "2026-11-24T09:30:12.114+01:00" } },
    { what: "a malformed trace", change: { trace: "xyz" } },
    { what: "null for absent", change: { session: null } },
    { what: "another kind's data", change: { kind: "audit.gap" } },
  ])("$what", ({ change }) => {
    expect(recordSchema.safeParse(record).success).toBe(true);
    expect(recordSchema.safeParse({ ...record, ...change }).success).toBe(false);
  });

  test("an identity with a member nobody declared", () => {
    const data = {
      identity,
      hard_end_at: 1,
      replay_key: "k",
      replay_until: 1,
      refresh_hash: "h",
      roles: [],
      policy: "p",
      token: "t",
    };
    const opened = { ...record, kind: "session.opened", data };
    expect(recordSchema.safeParse(opened).success).toBe(true);
    const more = { ...opened, data: { ...data, identity: { ...identity, email: "ada@acme.example" } } };
    expect(recordSchema.safeParse(more).success).toBe(false);
  });
});

test("the published schema closes every object and names every kind", () => {
  const schema = JSON.stringify(recordJsonSchema());
  for (const kind of Object.keys(dataSchemas)) expect(schema).toContain(`"const":"${kind}"`);
  const objects = schema.match(/"type":"object","properties"/g) ?? [];
  const closed = schema.match(/"additionalProperties":false/g) ?? [];
  expect(closed.length).toBe(objects.length);
});
