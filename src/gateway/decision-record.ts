import type { Decision, ReasonCode } from "../core/decision.ts";
import { type AuditEvent, type DecisionData, recordJob } from "../core/record.ts";
import type { SessionView } from "../core/session.ts";
import type { Operation } from "../core/target.ts";
import type { Policy } from "../policy/policy.ts";
import { operationText } from "./question-text.ts";

/** Of a question, what its record says. */
interface Asked {
  readonly gateway: string;
  readonly target: string;
  readonly operation: Operation;
  readonly ambiguity?: string;
}

/** What was found out about it. */
interface Found {
  readonly reason: ReasonCode;
  readonly outcome: DecisionData["outcome"];
  readonly view?: SessionView;
  readonly decision?: Decision;
  /** Keyed fingerprint. */
  readonly token?: string;
}

/** The record of one decision. */
export function decisionEvent(question: Asked, finding: Found, policy: Policy, traceparent: string): AuditEvent {
  const { view, decision } = finding;
  const { operation } = question;
  const data: DecisionData = {
    gateway: question.gateway,
    target: question.target,
    operation: operationText(operation),
    effect: finding.outcome === "allow" ? "allow" : "deny",
    outcome: finding.outcome,
    reason: finding.reason,
    policy: policy.version,
    ...(operation.kind === "http" && operation.host !== "" ? { host: operation.host } : {}),
    ...(decision?.rule === undefined ? {} : { rule: decision.rule }),
    ...(decision === undefined || decision.facts.length === 0 ? {} : { facts: decision.facts }),
    ...(decision?.closest === undefined ? {} : { closest: decision.closest }),
    ...(finding.token === undefined ? {} : { token: finding.token }),
    ...detailOf(question, finding, policy),
  };
  const trace = traceparent.slice(3, 35);
  if (view === undefined) return { kind: "decision", trace, data };
  return { kind: "decision", session: view.id, job: recordJob(view.identity), trace, data };
}

/** What the record says beyond its reason: how a request was ambiguous, why a deny is there. */
function detailOf({ ambiguity }: Asked, { reason, decision }: Found, policy: Policy): { detail?: string } {
  if (ambiguity !== undefined) return { detail: ambiguity };
  const because = reason === "denied" ? policy.denyReason(decision?.rule ?? "")?.because : undefined;
  return because === undefined ? {} : { detail: because };
}
