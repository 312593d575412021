import type { NatsPlace } from "../core/nats-record.ts";
import type { AuditEvent, AuditRecord, Recorder } from "../core/record.ts";
import type { RecordReader } from "./surface.ts";

type Connected = AuditRecord & { readonly kind: "nats.connected" };

/** No connection outlives its session, and no session a day. */
const longestMs = 24 * 3_600_000;
const pageSize = 1_000;

/**
 * Final records of the connections that a gateway of this process had when it was killed: what was recorded of them is what
 * was forwarded at most, and the server's totals went unheard. Resolves with how many there were; before the gateway listens.
 */
export async function closeLostConnections(deps: {
  readonly gateway: string;
  readonly records: Pick<RecordReader, "query">;
  readonly recorder: Pick<Recorder, "append">;
  /** ms since the epoch. */
  readonly now: number;
}): Promise<number> {
  const open = new Map<string, Connected>();
  const kinds = ["nats.connected", "nats.disconnected"];
  for await (const record of oldestFirst(deps, { kinds, gateway: deps.gateway, sinceMs: deps.now - longestMs })) {
    if (record.kind === "nats.connected" && record.data.mode === "gateway") open.set(record.data.connection, record);
    if (record.kind === "nats.disconnected") open.delete(record.data.connection);
  }
  const events: AuditEvent[] = [];
  for (const connected of open.values()) events.push(await lost(deps, connected));
  if (events.length > 0) await deps.recorder.append(events);
  return events.length;
}

async function lost(deps: Parameters<typeof closeLostConnections>[0], connected: Connected): Promise<AuditEvent> {
  const { session, job, data } = connected;
  const { gateway, connection, target, account }: NatsPlace = data;
  const published = { messages: 0, bytes: 0 };
  const delivered = { messages: 0, bytes: 0 };
  let denied = 0;
  const kinds = ["nats.published", "nats.delivered", "decision"];
  const wanted = { kinds, gateway, sinceMs: Date.parse(connected.time), ...(session === undefined ? {} : { session }) };
  for await (const record of oldestFirst(deps, wanted)) {
    if (record.kind === "decision" && record.data.outcome === "deny") denied++;
    if (record.kind !== "nats.published" && record.kind !== "nats.delivered") continue;
    if (record.data.connection !== connection) continue;
    if (record.kind === "nats.published") {
      published.messages += record.data.messages.length;
      published.bytes += record.data.bytes;
    } else {
      delivered.messages += record.data.messages;
      delivered.bytes += record.data.bytes;
    }
  }
  return {
    kind: "nats.disconnected",
    ...(session === undefined ? {} : { session }),
    ...(job === undefined ? {} : { job }),
    data: {
      ...{ gateway, connection, target, account, published, delivered, denied },
      reason: "gateway_lost",
      detail: "the gateway was killed; deliveries since their last record went uncounted",
    },
  };
}

async function* oldestFirst(
  { records }: { readonly records: Pick<RecordReader, "query"> },
  filter: Omit<Parameters<RecordReader["query"]>[0], "limit" | "order" | "after">,
): AsyncGenerator<AuditRecord> {
  let after: string | undefined;
  for (;;) {
    const page: readonly AuditRecord[] = await records.query({
      ...filter,
      order: "oldest_first",
      limit: pageSize,
      ...(after === undefined ? {} : { after }),
    });
    yield* page;
    after = page.at(-1)?.id;
    if (after === undefined) return;
  }
}
