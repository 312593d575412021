import type { Clock } from "../core/clock.ts";
import type { WayleaveError } from "../core/errors.ts";
import type { AuditEvent } from "../core/record.ts";

/** Clients that a NATS gateway did not let in, as records: a flood becomes a few, with its size. */
export interface NatsRefusals {
  note(error: WayleaveError, of: { readonly from: string; readonly secret: string }): void;
}

/** At most so many are recorded in a minute; the next record says how many were not. */
const recordedPerMinute = 30;

export function createNatsRefusals(deps: {
  readonly gateway: string;
  readonly clock: Pick<Clock, "monotonic">;
  /** Keyed fingerprint of what was presented. */
  fingerprint(secret: string): string;
  /** Must not throw. */
  record(event: AuditEvent): void;
}): NatsRefusals {
  let minuteAt = Number.NEGATIVE_INFINITY;
  let written = 0;
  let unwritten = 0;
  return {
    note({ code, message }, { from, secret }) {
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
      const more = unwritten === 0 ? "" : ` (${unwritten} more before it were not recorded)`;
      unwritten = 0;
      const token = secret === "" ? {} : { token: deps.fingerprint(secret) };
      deps.record({
        kind: "nats.refused",
        data: { gateway: deps.gateway, code, detail: `${message}${more}`, from, ...token },
      });
    },
  };
}
