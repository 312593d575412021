import { type NatsMessage, parseNatsMessage } from "../core/nats-message.ts";
import type { NatsConnected, NatsCount, NatsDisconnected, NatsPlace } from "../core/nats-record.ts";
import { recordContradicts } from "../core/nats-totals.ts";
import type { AuditRecord } from "../core/record.ts";

/** What happened on a job's connections, one thing each, in order. The members are what `--json` prints. */
export type NatsRow = NatsRowOf & {
  readonly time: string;
  readonly record: string;
  readonly session?: string;
  readonly connection?: string;
};

type NatsRowOf =
  | ({ readonly type: "connected" } & Omit<NatsConnected, "connection">)
  | {
      readonly type: "subscribed";
      readonly sid: string;
      readonly subject: string;
      readonly queue?: string;
      readonly role: string;
    }
  | { readonly type: "unsubscribed"; readonly sid: string; readonly max?: number }
  | PublishedRow
  | DeliveredRow
  | {
      readonly type: "delivered_count";
      readonly sid: string;
      readonly subject: string;
      readonly messages: number;
      readonly bytes: number;
    }
  | {
      readonly type: "denied";
      readonly operation: string;
      readonly outcome: "deny" | "would_deny";
      readonly reason: string;
      readonly rule?: string;
    }
  | { readonly type: "refused"; readonly code: string; readonly detail: string }
  | { readonly type: "missing"; readonly first: number; readonly last: number }
  | { readonly type: "mismatch"; readonly gateway: NatsTotals; readonly server: NatsTotals }
  | DisconnectedRow
  | { readonly type: "session_ended"; readonly reason: string };

export interface PublishedRow {
  readonly type: "published";
  readonly number: number;
  /** Number of the last one, where several were folded into one row. */
  readonly last?: number;
  readonly role: string;
  readonly subject: string;
  readonly reply?: string;
  /** Bytes; of all of them, where several were folded. */
  readonly headers: number;
  readonly payload: number;
}

export interface DeliveredRow {
  readonly type: "delivered";
  readonly sid: string;
  readonly subject: string;
  readonly reply?: string;
  readonly headers: number;
  readonly payload: number;
}

export interface NatsTotals {
  readonly published: NatsCount;
  readonly delivered: NatsCount;
}

export interface DisconnectedRow extends NatsTotals {
  readonly type: "disconnected";
  readonly reason: string;
  readonly detail?: string;
  readonly denied: number;
  /** What the records of messages add up to, where they were read from the first on. */
  readonly recorded?: NatsCount;
  readonly server?: NatsTotals;
  /** Whether the server counted the same; absent where it did not tell. */
  readonly server_agrees?: boolean;
}

/** Kinds that rows are made of. */
export const natsRowKinds = [
  "nats.connected",
  "nats.refused",
  "nats.subscribed",
  "nats.unsubscribed",
  "nats.published",
  "nats.delivered",
  "nats.disconnected",
  "nats.mismatch",
  "decision",
  "session.ended",
] as const;

/** What is known of a connection so far. */
interface Sum {
  messages: number;
  bytes: number;
  /** Number of the next message; undefined until the first is seen. */
  next: number | undefined;
  /** It was read from its beginning. */
  readonly whole: boolean;
}

/** Makes rows of records, which must come in order. A message whose number does not follow is told as missing. */
export class NatsRows {
  readonly #sums = new Map<string, Sum>();

  /** Rows of one record: as many as it has messages. */
  of(record: AuditRecord): readonly NatsRow[] {
    const { time, id, session } = record;
    const place = placeOf(record);
    const common = {
      time,
      record: id,
      ...(session === undefined ? {} : { session }),
      ...(place === undefined ? {} : { connection: place.connection }),
    };
    return this.#rows(record).map((row) => ({ ...common, ...row }));
  }

  #rows(record: AuditRecord): readonly NatsRowOf[] {
    switch (record.kind) {
      case "nats.connected": {
        const { connection, ...data } = record.data;
        this.#sums.set(connection, { messages: 0, bytes: 0, next: 1, whole: true });
        return [{ type: "connected", ...data }];
      }
      case "nats.published":
        return this.#published(record.data);
      case "nats.disconnected":
        return [this.#disconnected(record.data)];
      default:
        return rowsAlone(record);
    }
  }

  #published({ connection, first, messages, bytes }: (AuditRecord & { kind: "nats.published" })["data"]): NatsRowOf[] {
    const sum = this.#sums.get(connection) ?? { messages: 0, bytes: 0, next: undefined, whole: false };
    this.#sums.set(connection, sum);
    const rows: NatsRowOf[] = [];
    if (sum.next !== undefined && sum.next !== first) {
      rows.push({ type: "missing", first: Math.min(sum.next, first), last: Math.max(sum.next, first) - 1 });
    }
    for (let at = 0; at < messages.length; at++) {
      rows.push({ type: "published", number: first + at, ...messageOf(messages[at] ?? "") });
    }
    sum.messages += messages.length;
    sum.bytes += bytes;
    sum.next = first + messages.length;
    return rows;
  }

  #disconnected({ connection, ...data }: NatsDisconnected): DisconnectedRow {
    const sum = this.#sums.get(connection);
    this.#sums.delete(connection);
    const { reason, detail, published, delivered, denied, server } = data;
    const theirs = server === undefined ? undefined : { published: server.received, delivered: server.sent };
    return {
      type: "disconnected",
      reason,
      ...(detail === undefined ? {} : { detail }),
      published,
      delivered,
      denied,
      ...(sum?.whole === true ? { recorded: { messages: sum.messages, bytes: sum.bytes } } : {}),
      ...(theirs === undefined ? {} : { server: theirs, server_agrees: recordContradicts(data) === false }),
    };
  }
}

export function sameCount(one: NatsCount, other: NatsCount): boolean {
  return one.messages === other.messages && one.bytes === other.bytes;
}

/** Rows of records that say all there is by themselves. */
function rowsAlone(record: AuditRecord): readonly NatsRowOf[] {
  switch (record.kind) {
    case "nats.subscribed": {
      const { sid, subject, queue, rule } = record.data;
      return [{ type: "subscribed", sid, subject, ...(queue === undefined ? {} : { queue }), role: rule }];
    }
    case "nats.unsubscribed": {
      const { sid, max } = record.data;
      return [{ type: "unsubscribed", sid, ...(max === undefined ? {} : { max }) }];
    }
    case "nats.delivered": {
      const { sid, subject, messages, bytes, each } = record.data;
      if (each === undefined) return [{ type: "delivered_count", sid, subject, messages, bytes }];
      return each.map((text): DeliveredRow => {
        const { role: _none, ...message } = messageOf(text);
        return { type: "delivered", sid, ...message };
      });
    }
    case "nats.mismatch": {
      const { gateway_counts, server_counts } = record.data;
      const server = { published: server_counts.received, delivered: server_counts.sent };
      return [{ type: "mismatch", gateway: gateway_counts, server }];
    }
    case "nats.refused":
      return [{ type: "refused", code: record.data.code, detail: record.data.detail }];
    case "decision":
      return deniedRows(record);
    case "session.ended":
      return [{ type: "session_ended", reason: record.data.reason }];
    default:
      return [];
  }
}

/** Decisions about NATS: their verbs are lower case, and HTTP's are not. */
function deniedRows({ data }: AuditRecord & { readonly kind: "decision" }): readonly NatsRowOf[] {
  const { operation, outcome, reason, rule } = data;
  if ((outcome !== "deny" && outcome !== "would_deny") || !/^(?:pub|sub|req|pull) /.test(operation)) return [];
  return [{ type: "denied", operation, outcome, reason, ...(rule === undefined ? {} : { rule }) }];
}

function messageOf(text: string): Omit<NatsMessage, "rule"> & { readonly role: string } {
  const { rule, ...message } = parseNatsMessage(text) ?? { rule: "", subject: text, headers: 0, payload: 0 };
  return { role: rule, ...message };
}

function placeOf({ data }: AuditRecord): Pick<NatsPlace, "connection"> | undefined {
  return "connection" in data && typeof data.connection === "string" ? { connection: data.connection } : undefined;
}

/** Folds messages that follow each other and differ only in their number, their reply and their size. */
export class RowFolder {
  #held: (NatsRow & PublishedRow) | undefined;

  /** Rows that are complete now. */
  take(row: NatsRow): readonly NatsRow[] {
    const held = this.#held;
    if (row.type !== "published") return [...this.rest(), row];
    if (held === undefined || !sameRun(held, row)) {
      const done = this.rest();
      this.#held = row;
      return done;
    }
    this.#held = {
      ...held,
      last: row.number,
      headers: held.headers + row.headers,
      payload: held.payload + row.payload,
    };
    return [];
  }

  rest(): readonly NatsRow[] {
    const held = this.#held;
    this.#held = undefined;
    return held === undefined ? [] : [held];
  }
}

function sameRun(held: NatsRow & PublishedRow, row: NatsRow & PublishedRow): boolean {
  return (
    held.connection === row.connection &&
    (held.last ?? held.number) + 1 === row.number &&
    held.subject === row.subject &&
    held.role === row.role &&
    (held.reply === undefined) === (row.reply === undefined)
  );
}
