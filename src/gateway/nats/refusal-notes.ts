import type { Clock } from "../../core/clock.ts";
import type { AuditEvent } from "../../core/record.ts";
import { createRefusalFlood } from "../refusal-flood.ts";
import type { Refusal } from "./connection.ts";

const recordedPerMinute = 60;

/** Records of connections that were refused before they were live. */
export function createRefusalNotes(
  gateway: string,
  clock: Pick<Clock, "monotonic">,
  note: (event: AuditEvent) => void,
): (refusal: Refusal) => void {
  const flood = createRefusalFlood(clock, recordedPerMinute);
  return ({ code, detail, from, admission }) =>
    flood((more) => {
      const connection = admission === undefined ? {} : { connection: admission.connection };
      const where = from === "" ? {} : { from };
      const data = { gateway, code, detail: `${detail}${more}`, ...connection, ...where };
      note({ kind: "nats.refused", ...admission?.record, data });
    });
}
