import type { Clock } from "../core/clock.ts";
import type { AuditEvent } from "../core/record.ts";
import { createRefusalFlood } from "./refusal-flood.ts";

const recordedPerMinute = 10;

/** Records of gateways' questions that were not served, and of callers that are no gateway. */
export function createRefusalRecords(deps: {
  readonly clock: Clock;
  /** Must not throw. */
  note(event: AuditEvent): void;
}): (detail: string, code?: string, gateway?: string) => void {
  const flood = createRefusalFlood(deps.clock, recordedPerMinute);
  return (detail, code = "gateway_unauthenticated", gateway) =>
    flood((more) =>
      deps.note({
        kind: "gateway.refused",
        data: { code, detail: `${detail}${more}`, ...(gateway === undefined ? {} : { gateway }) },
      }),
    );
}
