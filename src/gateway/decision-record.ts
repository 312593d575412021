import type { Beside, Decision, Outcome, ReasonCode } from "../core/decision.ts";
import { type AuditEvent, type DecisionData, recordJob } from "../core/record.ts";
import type { Narrowing, SessionView } from "../core/session.ts";
import type { Operation } from "../core/target.ts";
import type { CompiledTarget, Policy } from "../policy/policy.ts";
import { operationText } from "./question-text.ts";

/** As much of a question as its record repeats. */
interface Asked {
  readonly gateway: string;
  readonly target: string;
  readonly operation: Operation;
  readonly assertion?: string;
  readonly admitted?: object;
  readonly ambiguity?: string;
}

/** What was found out about one question, before it is recorded. */
export interface Finding {
  readonly reason: ReasonCode;
  readonly outcome: Outcome;
  readonly ours: boolean;
  readonly view?: SessionView;
  readonly decision?: Decision;
  readonly token?: string;
  /** As it is for the job, once that is known. */
  readonly target?: CompiledTarget;
  /** Once its credential was verified. */
  readonly holder?: { readonly jti: string; readonly sessionId: string; readonly narrowing: Narrowing };
  /** What a candidate says of a request that came without a usable credential. */
  readonly beside?: Beside;
}

type DenyReasons = Pick<Policy, "version" | "denyReason">;

/** The record of one answered question. */
export function decisionEvent(question: Asked, finding: Finding, policy: DenyReasons, traceparent: string): AuditEvent {
  const { view, decision } = finding;
  const { operation } = question;
  const data: DecisionData = {
    gateway: question.gateway,
    target: question.target,
    operation: operationText(operation),
    effect: finding.outcome === "allow" ? "allow" : "deny",
    outcome: finding.outcome,
    reason: finding.reason,
    policy: decision?.policyVersion ?? policy.version,
    ...(operation.kind === "http" && operation.host !== "" ? { host: operation.host } : {}),
    ...(decision?.rule === undefined ? {} : { rule: decision.rule }),
    ...(decision === undefined || decision.facts.length === 0 ? {} : { facts: decision.facts }),
    ...(decision?.closest === undefined ? {} : { closest: decision.closest }),
    ...askedFor(question, finding),
    ...comparison(finding),
    ...(finding.token === undefined ? {} : { token: finding.token }),
    ...detailOf(question, finding, policy),
  };
  const trace = traceparent.slice(3, 35);
  if (view === undefined) return { kind: "decision", trace, data };
  return { kind: "decision", session: view.id, job: recordJob(view.identity), trace, data };
}

/** What a replay of the record against another policy must know. */
function askedFor(
  { operation, assertion, admitted }: Asked,
  { decision, holder }: Finding,
): Pick<DecisionData, "missing" | "narrowed" | "stream" | "counted"> {
  return {
    ...(decision?.missing === undefined ? {} : { missing: decision.missing }),
    ...(decision === undefined || holder?.narrowing.roles === undefined ? {} : { narrowed: holder.narrowing.roles }),
    ...(operation.kind === "http" && operation.stream ? { stream: true } : {}),
    ...((assertion ?? admitted) === undefined || decision === undefined ? {} : { counted: true }),
  };
}

function comparison({ decision, beside = decision?.beside }: Finding): Pick<DecisionData, "canary" | "beside"> {
  return {
    ...(decision?.canary === undefined ? {} : { canary: true }),
    ...(beside === undefined ? {} : { beside }),
  };
}

/** What the record says beyond its reason: how a request was ambiguous, why a deny is there. */
function detailOf({ ambiguity }: Asked, { reason, decision, view }: Finding, policy: DenyReasons): { detail?: string } {
  if (ambiguity !== undefined) return { detail: ambiguity };
  const because = reason === "denied" ? policy.denyReason(decision?.rule ?? "", view?.identity)?.because : undefined;
  return because === undefined ? {} : { detail: because };
}
