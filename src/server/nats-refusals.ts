import type { Clock } from "../core/clock.ts";
import type { WayleaveError } from "../core/errors.ts";
import type { AuditEvent } from "../core/record.ts";
import { createRefusalFlood } from "../gateway/refusal-flood.ts";

/** Clients that a NATS gateway did not let in, as records. */
export interface NatsRefusals {
  note(error: WayleaveError, of: { readonly from: string; readonly secret: string }): void;
}

const recordedPerMinute = 30;

export function createNatsRefusals(deps: {
  readonly gateway: string;
  readonly clock: Pick<Clock, "monotonic">;
  /** Keyed fingerprint of what was presented. */
  fingerprint(secret: string): string;
  /** Must not throw. */
  record(event: AuditEvent): void;
}): NatsRefusals {
  const flood = createRefusalFlood(deps.clock, recordedPerMinute);
  return {
    note({ code, message }, { from, secret }) {
      flood((more) => {
        const token = secret === "" ? {} : { token: deps.fingerprint(secret) };
        deps.record({
          kind: "nats.refused",
          data: { gateway: deps.gateway, code, detail: `${message}${more}`, from, ...token },
        });
      });
    },
  };
}
