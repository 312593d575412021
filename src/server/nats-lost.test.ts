import { expect, test } from "vitest";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import type { RecordFilter } from "../store/ports.ts";
import { closeLostConnections } from "./nats-lost.ts";

const now = Date.parse("2026-11-24T12:00:00.000Z");
const place = (connection: string) => ({ gateway: "bus", connection, target: "events", account: "CI" });

/** A log of which three records make a page. */
function log(events: readonly AuditEvent[]) {
  const written = events.map((event, at) => ({
    ...event,
    id: `rec_${at}`,
    seq: at + 1,
    time: new Date(now).toISOString(),
    v: 1,
  }));
  const records = written as readonly AuditRecord[];
  const appended: AuditEvent[] = [];
  const query = async ({ kinds = [], after, session }: RecordFilter) => {
    const from = after === undefined ? 0 : records.findIndex(({ id }) => id === after) + 1;
    return records
      .slice(from)
      .filter((record) => kinds.includes(record.kind) && (session === undefined || record.session === session))
      .slice(0, 3);
  };
  const recorder = {
    append: async (more: readonly AuditEvent[]) => {
      appended.push(...more);
      return [];
    },
  };
  return { appended, run: () => closeLostConnections({ gateway: "bus", records: { query }, recorder, now }) };
}

const connected = (connection: string, mode: "gateway" | "direct" = "gateway"): AuditEvent => ({
  kind: "nats.connected",
  session: "ses_a",
  data: {
    ...place(connection),
    ...{
      mode,
      server_id: "N",
      cid: 1,
      server_version: "2.15.1",
      roles: [],
      policy: "p",
      records: "durable",
      expires_at: now,
    },
  },
});
const published = (connection: string, first: number, messages: readonly string[]): AuditEvent => ({
  kind: "nats.published",
  session: "ses_a",
  data: { ...place(connection), first, messages, bytes: messages.length * 10, policy: "p" },
});
const disconnected = (connection: string): AuditEvent => ({
  kind: "nats.disconnected",
  session: "ses_a",
  data: {
    ...place(connection),
    ...{
      reason: "client_closed",
      published: { messages: 0, bytes: 0 },
      delivered: { messages: 0, bytes: 0 },
      denied: 0,
    },
  },
});

test("a connection without an end gets one, with what its records say", async () => {
  const { run, appended } = log([
    connected("nc_1"),
    published("nc_1", 1, ["a", "b"]),
    connected("nc_2"),
    published("nc_2", 1, ["c"]),
    published("nc_1", 3, ["d"]),
    disconnected("nc_2"),
  ]);
  expect(await run()).toBe(1);
  expect(appended).toMatchObject([
    {
      kind: "nats.disconnected",
      session: "ses_a",
      data: { ...place("nc_1"), reason: "gateway_lost", published: { messages: 3, bytes: 30 } },
    },
  ]);
});

test.each([
  { what: "every connection has its end", events: [connected("nc_1"), disconnected("nc_1")] },
  { what: "a job is connected to the servers themselves", events: [connected("nc_1", "direct")] },
  { what: "there is nothing", events: [] },
])("nothing is recorded where $what", async ({ events }) => {
  const { run, appended } = log(events);
  expect(await run()).toBe(0);
  expect(appended).toEqual([]);
});
