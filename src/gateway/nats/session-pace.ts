import type { Clock } from "../../core/clock.ts";
import { WayleaveError } from "../../core/errors.ts";
import { createLimits } from "../limits.ts";
import { type NatsGatewayLimits, paceMs } from "./gateway-limits.ts";

/** How fast a session may connect and be denied, over all of its connections: what protects the journal from one job. */
export interface SessionPace {
  /** One more connection. Throws `access_denied` where there were too many, or too many denials. */
  connected(session: string): void;
  /** One more denial; false where there are too many. */
  denied(session: string): boolean;
}

type Bounds = Pick<NatsGatewayLimits, "denials" | "connectsPerSession">;

export function createSessionPace(clock: Pick<Clock, "monotonic">, bounds: Bounds): SessionPace {
  const limits = createLimits(clock);
  const connects = (session: string) => ({
    key: `connects/${session}`,
    windowMs: paceMs,
    max: bounds.connectsPerSession,
  });
  const denials = (session: string) => ({ key: `denials/${session}`, windowMs: paceMs, max: bounds.denials });
  const wait = `wait ${paceMs / 1000} s`;
  return {
    connected(session) {
      const [connecting, denied] = [connects(session), denials(session)];
      if (limits.used(denied.key, paceMs) > denied.max) {
        throw new WayleaveError("access_denied", `too many denied operations of this job: ${wait}`);
      }
      if (limits.used(connecting.key, paceMs) >= connecting.max) {
        throw new WayleaveError("access_denied", `this job connects too often: ${wait}`);
      }
      limits.count(connecting);
    },
    denied(session) {
      const use = denials(session);
      limits.count(use);
      return limits.used(use.key, paceMs) <= use.max;
    },
  };
}
