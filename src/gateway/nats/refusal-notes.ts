import type { Clock } from "../../core/clock.ts";
import type { AuditEvent } from "../../core/record.ts";
import type { Refusal } from "./connection.ts";

/** At most so many refusals are recorded in a minute; the next record says how many were not. */
const recordedPerMinute = 60;

/** Records of connections that were refused before they were live: a flood becomes some, with its size. */
export function createRefusalNotes(
  gateway: string,
  clock: Pick<Clock, "monotonic">,
  note: (event: AuditEvent) => void,
): (refusal: Refusal) => void {
  let minuteAt = Number.NEGATIVE_INFINITY;
  let written = 0;
  let unwritten = 0;
  return ({ code, detail, from, admission }) => {
    const now = clock.monotonic();
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
    const connection = admission === undefined ? {} : { connection: admission.connection };
    const where = from === "" ? {} : { from };
    const data = { gateway, code, detail: `${detail}${more}`, ...connection, ...where };
    note({ kind: "nats.refused", ...admission?.record, data });
  };
}
