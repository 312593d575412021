import type { WireLimits } from "./wire.ts";

/** What a gateway bears, and how long it waits. Times in ms. */
export interface NatsGatewayLimits {
  /** Connections at once. */
  readonly connections: number;
  readonly connectionsPerSession: number;
  /** A client that reconnects without end fills the journal: so many connections of one session in ten seconds. */
  readonly connectsPerSession: number;
  /** Connections that have not been admitted, in all and from one address. */
  readonly unadmitted: number;
  readonly unadmittedPerAddress: number;
  /** Longest CONNECT: raw CI tokens are long. */
  readonly connectLine: number;
  /** From the connection to its CONNECT, TLS handshake included. */
  readonly connectMs: number;
  /** For verifying what was presented: the CI may have to be asked. */
  readonly admitMs: number;
  /** For each step of opening the connection to a server, and for a server to come back. */
  readonly upstreamMs: number;
  readonly upstreamPatienceMs: number;
  /** Longest line after CONNECT, and longest message: what our own headers need is not part of it. */
  readonly wire: WireLimits;
  /** Bytes of one connection that wait for their record; then its client is not read any more. */
  readonly heldBytes: number;
  /** Messages in one record, and characters of their rows. */
  readonly rows: number;
  readonly rowCharacters: number;
  /** Where records are written behind: so many messages may be ahead of the disk. */
  readonly aheadMessages: number;
  readonly subscriptions: number;
  /** Denied operations of one session in ten seconds; then its connection ends. */
  readonly denials: number;
  /** Messages of one connection that wait to be answered, and how long they may. */
  readonly permits: number;
  readonly permitMs: number;
  /** A client that does not read for so long is disconnected, before nats-server does it after ten seconds. */
  readonly slowMs: number;
  /** A silent side is asked whether it lives; after two unanswered questions it does not. */
  readonly pingMs: number;
  /** A count of deliveries is written down at least so often. */
  readonly deliveredMs: number;
  /** For the last PONG of the server when a client leaves. */
  readonly drainMs: number;
  /** For the server's totals of a connection that closed. */
  readonly totalsMs: number;
  /** Between the last word to a client and the end of its socket. */
  readonly lingerMs: number;
}

export const defaultNatsLimits: NatsGatewayLimits = {
  connections: 10_000,
  connectionsPerSession: 256,
  connectsPerSession: 500,
  unadmitted: 1_024,
  unadmittedPerAddress: 256,
  connectLine: 32_768,
  connectMs: 2_000,
  admitMs: 10_000,
  upstreamMs: 5_000,
  upstreamPatienceMs: 1_500, // clients of other languages wait two seconds, and are to hear why
  wire: { maxLine: 4_096, maxPayload: 1_044_480 }, // 4 KiB below nats-server's own 1 MiB
  heldBytes: 1_048_576,
  rows: 2_000,
  rowCharacters: 262_144,
  aheadMessages: 50_000,
  subscriptions: 1_000,
  denials: 200,
  permits: 4_096,
  permitMs: 120_000,
  slowMs: 8_000,
  pingMs: 30_000,
  deliveredMs: 30_000,
  drainMs: 1_000,
  totalsMs: 2_000,
  lingerMs: 100,
};

/** Window of `denials` and `connectsPerSession`. */
export const paceMs = 10_000;
