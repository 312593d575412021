import type { NatsPublished } from "../core/nats-record.ts";
import type { AuditRecord } from "../core/record.ts";
import { count } from "./terminal.ts";

/** What a record about NATS says, in columns; undefined for kinds that have no words of their own. */
export function natsWords(record: AuditRecord): readonly [kind: string, ...rest: readonly string[]] | undefined {
  switch (record.kind) {
    case "nats.published":
      return [record.kind, publishedText(record.data), record.data.target];
    case "nats.delivered":
      return [record.kind, count(record.data.messages, "message"), record.data.subject];
    case "nats.subscribed":
      return [record.kind, record.data.subject, record.data.rule];
    case "nats.connected":
      return [record.kind, record.data.connection, record.data.target];
    case "nats.disconnected":
      return [record.kind, record.data.connection, record.data.reason];
    case "nats.refused":
      return [record.kind, record.data.code, record.data.gateway];
    case "nats.mismatch":
      return [record.kind, record.data.connection, "the server counted otherwise"];
    default:
      return undefined;
  }
}

/** A long record comes without its messages. */
function publishedText({ first, messages }: NatsPublished): string {
  return messages.length === 0 ? `messages from number ${first} on` : count(messages.length, "message");
}
