import type { Clock } from "../../core/clock.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { AuditEvent } from "../../core/record.ts";
import { createGatewayGuard, type GuardedGateway } from "../gateway-guard.ts";
import { createRefusalRecords } from "../refusal-records.ts";

/** What a request says of the one that sends it: header or metadata names in lower case. */
export type Metadata = ReadonlyMap<string, string>;

/**
 * Tells a gateway by `x-wayleave-gateway` and `x-wayleave-gateway-secret`. Throws `gateway_unauthenticated` for everybody
 * else, and leaves a record of it, never more than a few a minute. Throws `TypeError` for a hash that is no SHA-256.
 */
export function createAdmission<G extends GuardedGateway>(
  gateways: readonly G[],
  deps: { readonly clock: Clock; note(event: AuditEvent): void },
): (metadata: Metadata) => G {
  const guard = createGatewayGuard(gateways);
  const record = createRefusalRecords(deps);
  return (metadata) => {
    const gateway = guard(metadata.get("x-wayleave-gateway"), metadata.get("x-wayleave-gateway-secret"));
    if (gateway !== undefined) return gateway;
    record("somebody who is no Envoy of the inventory, or has a wrong secret, asked which sessions ended");
    throw new WayleaveError(
      "gateway_unauthenticated",
      "No gateway of this name has this secret; send x-wayleave-gateway and x-wayleave-gateway-secret as rendered.",
    );
  };
}
