import { join } from "node:path";
import type { NatsWorld } from "../demo/nats-world.ts";
import { openJournal } from "../src/audit/journal.ts";
import type { NatsCount } from "../src/core/nats-record.ts";
import type { AuditRecord } from "../src/core/record.ts";
import type { RecordOf } from "./record-stream.ts";

/** One connection of a job, as the journal tells it. */
export interface Told {
  /** What the client calls itself. */
  readonly name: string;
  readonly connected: RecordOf<"nats.connected">;
  /** Rows of `nats.published` and the bytes they claim; deliveries likewise. */
  readonly published: NatsCount;
  readonly delivered: NatsCount;
  /** Rows whose number does not follow the one before. */
  readonly gaps: number;
  readonly disconnected: RecordOf<"nats.disconnected"> | undefined;
}

/** Every record of a broker that has stopped. */
export async function journalOf({ config }: Pick<NatsWorld, "config">): Promise<readonly AuditRecord[]> {
  const random = (bytes: number) => new Uint8Array(bytes);
  const journal = await openJournal({ dir: join(config.dataDir, "journal"), clock: { now: Date.now }, random });
  const records: AuditRecord[] = [];
  try {
    for await (const record of journal.replay(1)) records.push(record);
  } finally {
    await journal.close();
  }
  return records;
}

/** What the journal tells of each connection, in the order they began. */
export function connectionsOf(records: readonly AuditRecord[]): readonly Told[] {
  const told = new Map<string, Gathering>();
  for (const record of records) {
    if (record.kind === "nats.connected") {
      const { connection, client } = record.data;
      told.set(connection, { ...nothing(record), name: client?.name ?? "" });
    } else gather(told, record);
  }
  return [...told.values()];
}

type Gathering = { -readonly [K in keyof Told]: Told[K] };

const nothing = (connected: RecordOf<"nats.connected">): Gathering => ({
  name: "",
  connected,
  published: { messages: 0, bytes: 0 },
  delivered: { messages: 0, bytes: 0 },
  gaps: 0,
  disconnected: undefined,
});

function gather(told: ReadonlyMap<string, Gathering>, record: AuditRecord): void {
  if (record.kind === "nats.published") {
    const one = told.get(record.data.connection);
    if (one === undefined) throw new Error("messages of a connection that was never recorded");
    if (record.data.first !== one.published.messages + 1) one.gaps++;
    one.published = plus(one.published, { messages: record.data.messages.length, bytes: record.data.bytes });
  } else if (record.kind === "nats.delivered") {
    const one = told.get(record.data.connection);
    if (one !== undefined) one.delivered = plus(one.delivered, record.data);
  } else if (record.kind === "nats.disconnected") {
    const one = told.get(record.data.connection);
    if (one !== undefined) one.disconnected = record;
  }
}

function plus(a: NatsCount, b: NatsCount): NatsCount {
  return { messages: a.messages + b.messages, bytes: a.bytes + b.bytes };
}
