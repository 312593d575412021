import { type Decision, noCounts } from "../core/decision.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Facts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import { natsVerbs, type Operation } from "../core/target.ts";
import type { Policy } from "./policy.ts";

/**
 * A request as people write it: `POST billing /v1/releases`, `pub events build.7`, `read db`. The object is all that follows
 * the target: of a subscription in a queue group, its subject, a space and the group.
 */
export interface Ask {
  readonly verb: string;
  readonly target: string;
  readonly object: string;
}

/**
 * The operation an ask means at its target. For http the host is the target's first for this job. Throws
 * `invalid_request` for a verb that the target's kind does not have, and for a queue group where there is none; an unknown
 * target is left to the decision.
 */
export function canOperation(policy: Policy, identity: JobIdentity, { verb, target, object }: Ask): Operation {
  const kind = policy.targets.get(target)?.kind;
  if (kind === "nats") return natsOperation(verb, object);
  if (kind === "http" || kind === "mesh" || object.startsWith("/")) {
    const [host = ""] = policy.hostsFor(target, identity);
    return { kind: "http", method: verb, host, path: object, stream: false };
  }
  return { kind: "verb", verb };
}

function natsOperation(verb: string, object: string): Operation {
  const known = natsVerbs.find((one) => one === verb);
  if (known === undefined) {
    throw new WayleaveError(
      "invalid_request",
      `nats targets know ${natsVerbs.join(", ")}, not ${JSON.stringify(verb)}.`,
    );
  }
  const [subject = "", queue, ...more] = object.split(" ");
  if (queue === undefined) return { kind: "nats", verb: known, subject };
  if (known !== "sub" || queue === "" || more.length > 0) {
    throw new WayleaveError("invalid_request", "One subject is asked about; only of sub, a queue group may follow it.");
  }
  return { kind: "nats", verb: known, subject, queue };
}

/** What policy says of an imagined job: the same decision a gateway would get, for a session that is active. */
export function can(policy: Policy, identity: JobIdentity, facts: Facts, ask: Ask, now: number): Decision {
  const operation = canOperation(policy, identity, ask);
  const session = {
    id: "ses_imagined",
    identity,
    state: "active",
    openedAt: now,
    hardEndAt: Number.MAX_SAFE_INTEGER,
  } as const;
  return policy.decide({ session, narrowing: {}, target: ask.target, operation, facts, now }, noCounts);
}
