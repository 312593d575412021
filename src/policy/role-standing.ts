import type { Facts } from "../core/fact.ts";
import { type ConditionInput, evaluateCondition } from "./condition.ts";
import type { RoleStanding, WithheldRole } from "./policy.ts";
import type { HeldDeny, HeldRole, Reach } from "./reach.ts";

/** The roles whose selector matches, by rank. Pure. */
export function roleStandings(reach: Reach, facts: Facts, now: number): readonly RoleStanding[] {
  return reach.roles.map((held) => standing(reach, held, facts, now));
}

function standing(reach: Reach, held: HeldRole, facts: Facts, now: number): RoleStanding {
  const { summary: role } = held.role;
  // A certificate cannot say "except": a deny of a part of what the role allows keeps the whole of it away.
  const denied = reach.denies.find((deny) => bearsOn(deny, held) && mayApply(reach, deny, facts, now));
  if (denied !== undefined) return { role, stands: false, reason: "denied", detail: denied.deny.model.id };
  const problem = conditionProblem(reach, held, facts, now);
  return problem === undefined ? { role, stands: true } : { role, stands: false, ...problem };
}

interface ConditionProblem {
  readonly reason: Extract<WithheldRole["reason"], "needs_request" | "fact_missing" | "condition_failed">;
  /** The condition's source, or the fact's name. */
  readonly detail: string;
}

/** Why the role's condition does not hold whatever is asked, or undefined. */
export function conditionProblem(
  reach: Reach,
  { role: { condition }, kind }: HeldRole,
  facts: Facts,
  now: number,
): ConditionProblem | undefined {
  if (condition === undefined) return undefined;
  const { source } = condition.model;
  if (readsRequest(condition)) return { reason: "needs_request", detail: source };
  const { verdict, missing } = evaluateCondition(condition, input(reach, kind === "agent", facts, now), undefined);
  if (missing !== undefined) return { reason: "fact_missing", detail: missing };
  return verdict === "true" ? undefined : { reason: "condition_failed", detail: source };
}

function bearsOn({ deny, agentsOnly }: HeldDeny, held: HeldRole): boolean {
  if (agentsOnly && held.kind !== "agent") return false;
  const { targets } = deny.model;
  return targets.length === 0 || held.role.summary.targets.some((target) => targets.includes(target));
}

/** Unless its condition is plainly false, whatever the request will be. */
export function mayApply(reach: Reach, { deny, agentsOnly }: HeldDeny, facts: Facts, now: number): boolean {
  const { condition } = deny;
  if (condition === undefined || readsRequest(condition)) return true;
  return evaluateCondition(condition, input(reach, agentsOnly, facts, now), undefined).verdict !== "false";
}

function readsRequest({
  conjuncts,
}: {
  readonly conjuncts: readonly { readonly reads: readonly string[] }[];
}): boolean {
  return conjuncts.some(({ reads }) => reads.some((name) => name.startsWith("request")));
}

/** For conditions that do not look at the request. */
function input(reach: Reach, agent: boolean, facts: Facts, now: number): ConditionInput {
  const job = agent ? reach.job.agent : reach.job.own;
  return { job, target: "", operation: { kind: "verb", verb: "" }, facts, now };
}
