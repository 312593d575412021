import type { CalloutCounts, CalloutHealth } from "./callout-responder.ts";

/** `GET /v1/nats`, on the operator's socket: every NATS gateway of the inventory, and the servers behind it. */
export interface NatsStatusResponse {
  readonly gateways: readonly NatsStatus[];
}

/** What a broker knows of one NATS gateway. Wire names; times are ISO 8601. */
export interface NatsStatus {
  readonly gateway: string;
  readonly mode: "gateway" | "direct";
  /** Whether this broker answers the callout. Where nobody does, nats-server lets nobody in. */
  readonly callout: {
    readonly answering: boolean;
    readonly since: string;
    /** Why it does not, one line. */
    readonly why?: string;
    readonly admitted: number;
    readonly refused: number;
    readonly dropped: number;
  };
  /** Whether connections can be closed at the servers, and their totals heard. */
  readonly system: { readonly connected: boolean; readonly since: string };
  /** Servers that answer the system account; absent where it is not connected. */
  readonly servers?: readonly NatsStatusServer[];
  /** Accounts that policy names in full, for the targets of this gateway. */
  readonly accounts: readonly NatsStatusAccount[];
}

export interface NatsStatusServer {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  /** How far its clock is ahead of the broker's, ms; absent where it did not tell its time. */
  readonly ahead_ms?: number;
}

export interface NatsStatusAccount {
  readonly account: string;
  readonly targets: readonly string[];
  readonly records: "durable" | "fast";
  /** False where a server does not have it; absent where they could not be asked. */
  readonly known?: boolean;
}

/** The status of what a broker's own parts say of themselves; their times are ms since the epoch. */
export function natsStatus(parts: {
  readonly gateway: string;
  readonly direct: boolean;
  readonly callout: CalloutHealth;
  readonly counts: CalloutCounts | undefined;
  readonly system: { readonly connected: boolean; readonly since: number };
  readonly servers: readonly NatsStatusServer[] | undefined;
  readonly accounts: readonly NatsStatusAccount[];
}): NatsStatus {
  const { gateway, direct, callout, counts, system, servers, accounts } = parts;
  return {
    gateway,
    mode: direct ? "direct" : "gateway",
    callout: {
      answering: callout.answering,
      since: new Date(callout.since).toISOString(),
      ...(callout.answering ? {} : { why: callout.why }),
      admitted: counts?.admitted ?? 0,
      refused: counts?.refused ?? 0,
      dropped: Object.values(counts?.dropped ?? {}).reduce((sum, dropped) => sum + dropped, 0),
    },
    system: { connected: system.connected, since: new Date(system.since).toISOString() },
    ...(servers === undefined ? {} : { servers }),
    accounts,
  };
}
