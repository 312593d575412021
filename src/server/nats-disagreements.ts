import type { Clock } from "../core/clock.ts";
import { type Decision, outcomeOf } from "../core/decision.ts";
import type { AuditEvent } from "../core/record.ts";
import type { NatsOperation } from "../core/target.ts";
import type { Admission } from "../gateway/nats/ports.ts";

/** What a NATS gateway let through although the other of two policies would not, as records: a message has no decision of its own. */
export interface NatsDisagreements {
  /** To be called with every decision. `decide` asks about another operation at the same moment. */
  see(admission: Admission, operation: NatsOperation, decision: Decision, decide: Decide): void;
  /** Records what has been counted for long enough. To be called now and then. */
  look(): void;
  /** Records all that was counted. */
  flush(): void;
}

type Decide = (operation: NatsOperation) => Decision;

export interface NatsDisagreementDeps {
  readonly gateway: string;
  readonly clock: Pick<Clock, "monotonic">;
  note(event: AuditEvent): void;
}

/** One operation of one session is recorded so often at most, and counted in between, ms. */
const everyMs = 10_000;

/** So many are counted at once. */
const maxCounted = 2_000;

interface Counted {
  readonly make: (count: number) => AuditEvent;
  count: number;
  readonly since: number;
}

export function createNatsDisagreements(deps: NatsDisagreementDeps): NatsDisagreements {
  const { gateway, clock } = deps;
  const counted = new Map<string, Counted>();
  const note = (event: AuditEvent): void => {
    try {
      deps.note(event);
    } catch {
      // what is let through is recorded as well, and fails with it
    }
  };
  const flush = (before: number): void => {
    for (const [key, { make, count, since }] of counted) {
      if (since > before) continue;
      counted.delete(key);
      if (count > 0) note(make(count));
    }
  };
  return {
    see(admission, operation, decision, decide) {
      const { beside } = decision;
      // What is refused, or let through only because it is observed, has its own record.
      if (beside === undefined || decision.effect !== "allow" || passesOtherwise(operation, decision, decide)) return;
      const { verb, subject, queue = "" } = operation;
      const key = [
        admission.session,
        admission.target,
        verb,
        subject,
        queue,
        beside.policy,
        decision.policyVersion,
      ].join(" ");
      const known = counted.get(key);
      if (known !== undefined) {
        known.count++;
        return;
      }
      if (counted.size >= maxCounted) flush(Number.POSITIVE_INFINITY);
      const make = (count: number) => eventOf(gateway, admission, operation, decision, count);
      counted.set(key, { make, count: 0, since: clock.monotonic() });
      note(make(1));
    },
    look: () => flush(clock.monotonic() - everyMs),
    flush: () => flush(Number.POSITIVE_INFINITY),
  };
}

/** A message that asks for an answer may go as a request or as a message: one policy may say the one, and the other the other. */
function passesOtherwise(operation: NatsOperation, { canary }: Decision, decide: Decide): boolean {
  if (operation.verb !== "req" && operation.verb !== "pub") return false;
  const verb = operation.verb === "req" ? "pub" : "req";
  const said = decide({ ...operation, verb });
  if (said.canary !== canary) return false;
  return (said.beside?.outcome ?? outcomeOf(said)) === "allow";
}

function eventOf(
  gateway: string,
  { target, record }: Admission,
  { verb, subject, queue }: NatsOperation,
  { reason, rule, policyVersion, canary, beside }: Decision,
  count: number,
): AuditEvent {
  if (beside === undefined) throw new TypeError("nothing to tell where two policies agree");
  return {
    kind: "policy.disagreed",
    ...record,
    data: {
      gateway,
      target,
      operation: `${verb} ${subject}${queue === undefined ? "" : ` ${queue}`}`.slice(0, 512),
      outcome: "allow",
      reason,
      ...(rule === undefined ? {} : { rule }),
      policy: policyVersion,
      ...(canary === undefined ? {} : { canary }),
      beside,
      count,
    },
  };
}
