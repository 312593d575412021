import type { Clock } from "../core/clock.ts";
import type { AuditEvent } from "../core/record.ts";

/** At most so many refusals are recorded in a minute; the next record says how many were not. */
const recordedPerMinute = 10;

/** Records of gateways' questions that were not served, and of callers that are no gateway: a flood becomes a few, with its size. */
export function createRefusalRecords(deps: {
  readonly clock: Clock;
  /** Must not throw. */
  note(event: AuditEvent): void;
}): (detail: string, code?: string) => void {
  let minuteAt = Number.NEGATIVE_INFINITY;
  let written = 0;
  let unwritten = 0;
  return (detail, code = "gateway_unauthenticated") => {
    const now = deps.clock.monotonic();
    if (now - minuteAt >= 60_000) {
      minuteAt = now;
      written = 0;
    }
    if (written >= recordedPerMinute) {
      unwritten++;
      return;
    }
    written++;
    const more = unwritten === 0 ? "" : `; ${unwritten} more before it were not recorded`;
    unwritten = 0;
    deps.note({ kind: "gateway.refused", data: { code, detail: `${detail}${more}` } });
  };
}
