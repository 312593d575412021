import type { NatsCount, NatsPlace } from "../../core/nats-record.ts";
import { contradicts, type GatewayCounts } from "../../core/nats-totals.ts";
import type { AuditEvent } from "../../core/record.ts";
import type { ConnectionEnd } from "./connection-end.ts";
import type { Admission, ServerTotals } from "./ports.ts";

/** What is known of a connection when it is over. */
export interface FinishedConnection {
  readonly place: NatsPlace;
  readonly admission: Admission;
  readonly end: ConnectionEnd;
  readonly counts: { readonly published: NatsCount; readonly delivered: NatsCount; readonly denied: number };
  /** What the server's own totals are held against. */
  readonly counted: GatewayCounts;
  readonly totals: ServerTotals | undefined;
  /** Everything that either side sent has arrived. */
  readonly drained: boolean;
}

/** The final record of a connection, and where the server counted otherwise, the one that says so. */
export function finalEvents(finished: FinishedConnection): {
  readonly events: readonly AuditEvent[];
  readonly contradiction: boolean;
} {
  const { place, admission, end, counts, counted, totals, drained } = finished;
  const data = {
    ...place,
    reason: end.reason,
    detail: end.detail,
    published: { ...counts.published },
    delivered: { ...counts.delivered },
    denied: counts.denied,
    ...(counted.arrived.messages === counts.delivered.messages ? {} : { arrived: { ...counted.arrived } }),
    ...(counted.uncounted.messages === 0 ? {} : { unanswered: { ...counted.uncounted } }),
    ...(drained ? {} : { cut: true as const }),
    ...(totals === undefined ? {} : { server: totals }),
  };
  const disconnected: AuditEvent = { kind: "nats.disconnected", ...admission.record, data };
  if (totals === undefined || !contradicts(counted, totals, drained)) {
    return { events: [disconnected], contradiction: false };
  }
  const mismatch = {
    ...place,
    gateway_counts: { published: { ...counted.published }, delivered: { ...counted.arrived } },
    server_counts: totals,
  };
  return {
    events: [disconnected, { kind: "nats.mismatch", ...admission.record, data: mismatch }],
    contradiction: true,
  };
}
