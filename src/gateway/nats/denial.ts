import { type Decision, type ReasonCode, reasonCodes } from "../../core/decision.ts";
import type { AuditEvent, DecisionData } from "../../core/record.ts";
import type { NatsOperation } from "../../core/target.ts";
import { nextStep } from "../../policy/next-step.ts";
import type { Admission } from "./ports.ts";

/** An operation that policy, or the gateway itself, does not allow. */
export interface Denial {
  readonly operation: NatsOperation;
  readonly reason: ReasonCode;
  readonly decision: Decision;
  /** What the gateway knows beyond policy. */
  readonly detail?: string;
}

/** The record of a denial. `would_deny`: it was let through, since the target is observed. */
export function denialEvent(
  gateway: string,
  admission: Admission,
  denial: Denial,
  outcome: "deny" | "would_deny",
): AuditEvent {
  return { kind: "decision", ...admission.record, data: dataOf(gateway, admission, denial, outcome) };
}

function dataOf(
  gateway: string,
  { target }: Admission,
  { operation, reason, decision, detail }: Denial,
  outcome: "deny" | "would_deny",
): DecisionData {
  // What came nearest says nothing about a reason that is not policy's.
  const policys = reason === decision.reason;
  return {
    gateway,
    target,
    operation: operationText(operation),
    effect: "deny",
    outcome,
    reason,
    policy: decision.policyVersion,
    ...(policys && decision.rule !== undefined ? { rule: decision.rule } : {}),
    ...(policys && decision.facts.length > 0 ? { facts: decision.facts } : {}),
    ...(policys && decision.closest !== undefined ? { closest: decision.closest } : {}),
    ...(policys && decision.missing !== undefined ? { missing: decision.missing } : {}),
    ...(decision.canary === undefined ? {} : { canary: true }),
    ...(policys && decision.beside !== undefined ? { beside: decision.beside } : {}),
    ...(detail === undefined ? {} : { detail }),
  };
}

function operationText({ verb, subject, queue }: NatsOperation): string {
  return `${verb} ${subject}${queue === undefined ? "" : ` ${queue}`}`.slice(0, 512);
}

/**
 * What the client is told: as nats-server puts it, so that clients know which operation it is about, then why, and what would
 * help. `subject` is the client's own name for it.
 */
export function denialText(gateway: string, admission: Admission, denial: Denial, subject: string): string {
  const { verb, queue } = denial.operation;
  const what = verb === "sub" ? "Subscription" : "Publish";
  const group = queue === undefined ? "" : ` using queue "${queue}"`;
  const data = dataOf(gateway, admission, denial, "deny");
  const why = denial.detail ?? `${whyOf(data)}; ${nextStep(data, undefined, 0)}`;
  return `Permissions Violation for ${what} to "${subject}"${group}: ${why}`.slice(0, 1024).replaceAll("'", "’");
}

function whyOf({ reason, closest }: DecisionData): string {
  if (closest === undefined) return reasonCodes[reason];
  const { role, file, line, failed, found } = closest;
  const wants = failed === "operation" ? "does not name it" : `fails at ${failed}`;
  const value = found === undefined ? "" : `, which is ${found}`;
  return `${reasonCodes[reason]}; role ${role} (${file}:${line}) came nearest and ${wants}${value}`;
}
