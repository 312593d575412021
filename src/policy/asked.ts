import type { AccessRequest, Counts, LimitUse } from "../core/decision.ts";
import type { Kind } from "../core/identity.ts";
import type { Narrowing } from "../core/session.ts";
import type { CompiledRules } from "./compiled-rules.ts";
import { type Condition, type ConditionMemo, type ConditionResult, evaluateCondition } from "./condition.ts";
import type { Mode } from "./model.ts";
import type { HeldRole, Reach, Rule, TargetReach } from "./reach.ts";

/** One request and what was found out about it so far. */
export interface Asked {
  readonly rules: CompiledRules;
  readonly reach: Reach;
  readonly at: TargetReach;
  readonly request: AccessRequest;
  readonly counts: Counts;
  readonly mode: Mode;
  /** Rules whose operation is the one asked for. */
  readonly matched: readonly Rule[];
  /** Names of the facts that were looked at. */
  used: string[] | undefined;
}

export function inNarrowing(narrowing: Narrowing, role: string): boolean {
  return narrowing.roles === undefined || narrowing.roles.includes(role);
}

export function evaluate(asked: Asked, condition: Condition, kind: Kind, memo: ConditionMemo): ConditionResult {
  const { reach, request } = asked;
  asked.used ??= [];
  asked.used.push(...condition.facts);
  return evaluateCondition(condition, conditionInput(reach, request, kind), memo);
}

export function conditionInput(reach: Reach, request: AccessRequest, kind: Kind) {
  const { target, operation, facts, now } = request;
  return { job: kind === "agent" ? reach.job.agent : reach.job.own, target, operation, facts, now };
}

/** The key holds the role's id and what is counted together, so that renaming a role keeps its counts. */
export function limitOf({ role }: HeldRole, reach: Reach, request: AccessRequest): LimitUse | undefined {
  const { limit, id } = role.model;
  if (limit === undefined || request.counted === true) return undefined;
  const { identity } = reach;
  const { session } = request;
  const shared = {
    session: () => `${id}/session/${session.id}`,
    project: () => `${id}/project/${identity.issuer}/${identity.project.id}`,
    role: () => `${id}/role`,
  }[limit.per];
  const key = limit.scope === "gateway" ? `${shared()}@${request.gateway ?? ""}` : shared();
  return { key, windowMs: limit.windowMs, max: limit.max };
}
