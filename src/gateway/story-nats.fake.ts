import type { NatsConnected, NatsCount, NatsDisconnected, NatsPlace } from "../core/nats-record.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { job, session } from "./evidence.fake.ts";
import { endedAt, fakeFacts, openedAt } from "./story.fake.ts";
import type { NatsTraffic, StoryFacts, StoryGateway } from "./story-facts.ts";

const natsGateway: StoryGateway = {
  name: "nats-1",
  kind: "nats",
  targets: ["events"],
  behind: [],
  asks: true,
  ships: "none",
  boundMs: 1_000,
};

const place: NatsPlace = { gateway: "nats-1", connection: "nc_aaaaaaaaaaaaaaaa", target: "events", account: "CI" };

/** One connection of the fake story. */
export interface FakeConnection {
  readonly published: NatsCount;
  readonly delivered: NatsCount;
  /** ms after the opening of the session; a closed one ends before the session does. */
  readonly atMs: number;
  /** ms from the session's end, where it lived until then. */
  readonly closedAfterMs?: number;
}

/** A story in which gateway, server and records counted the same; what `change` gives replaces a record's data. */
export function natsFacts(
  connections: readonly FakeConnection[],
  change: {
    readonly connected?: Partial<NatsConnected>;
    readonly closed?: { readonly [K in keyof NatsDisconnected]?: NatsDisconnected[K] | undefined };
    readonly traffic?: Partial<NatsTraffic>;
    readonly more?: readonly AuditEvent[];
  } = {},
): StoryFacts {
  const facts = fakeFacts([]);
  const records: AuditRecord[] = [...facts.records];
  const add = (at: number, event: AuditEvent) => {
    const seq = records.length + 1;
    const time = new Date(at).toISOString();
    records.push({ ...event, v: 1, id: `rec_${String(seq).padStart(12, "0")}`, seq, time });
  };
  const mine = { session, job };
  const nats = connections.map(({ published, delivered, atMs, closedAfterMs }, at): NatsTraffic => {
    const id = `nc_${String.fromCharCode(97 + at).repeat(16)}`;
    const here = { ...place, connection: id };
    const counts = { published, delivered, denied: 0, server: { received: published, sent: delivered } };
    const reason = closedAfterMs === undefined ? "client_closed" : "session_ended";
    const closedAt = closedAfterMs === undefined ? openedAt + atMs + 10 : endedAt + closedAfterMs;
    add(openedAt + atMs, { kind: "nats.connected", ...mine, data: { ...connected, ...here, ...change.connected } });
    const data = Object.entries({ ...here, ...counts, reason, ...change.closed });
    const closed = Object.fromEntries(data.filter(([, value]) => value !== undefined)) as unknown as NatsDisconnected;
    add(closedAt, { kind: "nats.disconnected", ...mine, data: closed });
    return {
      connection: id,
      gateway: "nats-1",
      published,
      delivered,
      lastAt: openedAt + atMs + 5,
      cut: false,
      ...change.traffic,
    };
  });
  for (const event of change.more ?? []) add(endedAt, { ...event, ...mine } as AuditEvent);
  const sent = nats.filter(({ published, delivered }) => published.messages + delivered.messages > 0);
  return { ...facts, gateways: [...facts.gateways, natsGateway], records, nats: sent };
}

const connected: NatsConnected = {
  ...place,
  mode: "gateway",
  server_id: "NDQ2TYV5SPIJRVMZ4B6EY3FTGXJ4JGZTD6TOF4U2Z3VTZ3TL6EXAMPLE",
  cid: 17,
  server_version: "2.15.1",
  roles: ["publish-status"],
  policy: "41c0aa",
  records: "durable",
  expires_at: 0,
};
