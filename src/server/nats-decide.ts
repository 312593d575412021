import type { AccessRequest, Counts, Decision } from "../core/decision.ts";
import type { NatsOperation } from "../core/target.ts";
import type { Policy } from "../policy/policy.ts";

/** What the gateway asks before it forwards `$JS.API.INFO`, which tells a client that there are streams: any consumer at all. */
const anyConsumer = "*.*";

/**
 * The decision for one NATS operation. Where any consumer will do, it is that of the first consumer the job may pull from, or
 * of the last one it may not.
 */
export function decideNats(
  policy: Pick<Policy, "decide" | "natsRights">,
  request: AccessRequest & { readonly operation: NatsOperation },
  counts: Counts,
): Decision {
  const { operation, session, target } = request;
  if (operation.verb !== "pull" || operation.subject !== anyConsumer) return policy.decide(request, counts);
  const { pull } = policy.natsRights(session.identity, target);
  let last: Decision | undefined;
  for (const { stream, consumer } of pull) {
    // A wildcard of policy is any name.
    const subject = [stream, consumer].map((name) => (name === "*" ? "any" : name)).join(".");
    last = policy.decide({ ...request, operation: { kind: "nats", verb: "pull", subject } }, counts);
    if (last.effect === "allow") return last;
  }
  return last ?? policy.decide({ ...request, operation: { kind: "nats", verb: "pull", subject: "any.any" } }, counts);
}
