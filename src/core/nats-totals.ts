import type { NatsCount, NatsDisconnected } from "./nats-record.ts";

/** What the gateway counted on one connection to the server. */
export interface GatewayCounts {
  /** Messages handed to the socket, headers and payload. */
  readonly published: NatsCount;
  /** Messages the server sent, whether or not the client still took them. */
  readonly arrived: NatsCount;
  /** Those among them which say that nobody answers: the server does not count them as sent. */
  readonly uncounted: NatsCount;
}

/**
 * Whether the server's totals contradict the gateway's. The server never received more than was forwarded, and never sent
 * less than arrived. Of a connection that was cut, the last of each direction may have been under way; of one that was
 * emptied first (`drained`), the two must be equal.
 *
 * nats-server counts headers and payload without the CRLF, and a message the moment it is put into the connection's queue.
 */
export function contradicts(
  ours: GatewayCounts,
  server: NonNullable<NatsDisconnected["server"]>,
  drained: boolean,
): boolean {
  return (["messages", "bytes"] as const).some((unit) => {
    const sent = server.sent[unit];
    const arrived = ours.arrived[unit];
    if (server.received[unit] > ours.published[unit] || sent < arrived - ours.uncounted[unit]) return true;
    return drained && (server.received[unit] < ours.published[unit] || sent > arrived);
  });
}

/** The same of a connection's final record; undefined where the server told no totals. */
export function recordContradicts({
  published,
  delivered,
  arrived = delivered,
  unanswered = { messages: 0, bytes: 0 },
  server,
  cut,
}: Pick<NatsDisconnected, "published" | "delivered" | "arrived" | "unanswered" | "server" | "cut">):
  | boolean
  | undefined {
  if (server === undefined) return undefined;
  return contradicts({ published, arrived, uncounted: unanswered }, server, cut !== true);
}
