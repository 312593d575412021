import type { Outcome } from "../core/decision.ts";
import type { PolicyDisagreement } from "../core/policy-record.ts";
import type { AuditRecord, DecisionData } from "../core/record.ts";

/** What the candidate would change: `passes_differently` is let through either way, by one of the two only because it observes. */
export type DisagreementEffect = "newly_denied" | "newly_allowed" | "passes_differently";

/** Requests on which two policies differ, counted together. Times are ms since the epoch. */
export interface Disagreement {
  readonly active: string;
  readonly candidate: string;
  readonly effect: DisagreementEffect;
  readonly target: string;
  /** Of the policy that allows; empty where none of the two names one. */
  readonly role: string;
  /** Why the other one refuses. */
  readonly reason: string;
  readonly count: number;
  readonly first_ms: number;
  readonly last_ms: number;
  /** Number of the newest record. */
  readonly last_seq: number;
}

/** What one record adds to the counts, or undefined for a record that tells of no disagreement. */
export function disagreementOf(record: AuditRecord): Disagreement | undefined {
  if (record.kind !== "decision" && record.kind !== "policy.disagreed") return undefined;
  const { data } = record;
  const { beside } = data;
  if (beside === undefined) return undefined;
  const [active, candidate] = data.canary === true ? [beside, data] : [data, beside];
  const [allows, refuses] = rank[active.outcome] > rank[candidate.outcome] ? [active, candidate] : [candidate, active];
  const at = Date.parse(record.time);
  return {
    active: active.policy,
    candidate: candidate.policy,
    effect: effectOf(active.outcome, candidate.outcome),
    target: data.target,
    role: allows.rule ?? "",
    reason: refuses.reason,
    count: countOf(record.kind, data),
    first_ms: at,
    last_ms: at,
    last_seq: record.seq,
  };
}

const rank: Readonly<Record<Outcome, number>> = { deny: 0, would_deny: 1, pass: 2, allow: 3 };

function effectOf(active: Outcome, candidate: Outcome): DisagreementEffect {
  if (active !== "deny" && candidate !== "deny") return "passes_differently";
  return candidate === "deny" ? "newly_denied" : "newly_allowed";
}

function countOf(kind: AuditRecord["kind"], data: DecisionData | PolicyDisagreement): number {
  return kind === "policy.disagreed" && "count" in data ? data.count : 1;
}
