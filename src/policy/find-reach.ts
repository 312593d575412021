import type { JobIdentity, Kind } from "../core/identity.ts";
import {
  type CompiledDeny,
  type CompiledRole,
  type CompiledRules,
  compare,
  pinnedElsewhere,
} from "./compiled-rules.ts";
import { type ConditionMemo, jobValues } from "./condition.ts";
import { explainSelector, matchesIssuer, matchesSelector, type SelectorMatch } from "./match-selector.ts";
import type { HeldDeny, Reach } from "./reach.ts";

const maxNear = 16;

/** Finds the roles and denies of a job. `identity` is taken to stay as it is. */
export function findReach(rules: CompiledRules, identity: JobIdentity): Reach {
  const { roles, near } = findRoles(rules, identity);
  return {
    identity,
    roles,
    near,
    denies: findDenies(rules, identity),
    job: { own: jobValues(identity, identity.kind), agent: jobValues(identity, "agent") },
    targets: Array.from({ length: rules.targets.size }, () => undefined),
  };
}

const memo = (): ConditionMemo => ({ values: undefined, result: undefined });

function findRoles(rules: CompiledRules, identity: JobIdentity): Pick<Reach, "roles" | "near"> {
  const held = new Map<CompiledRole, Kind>();
  const near = new Map<CompiledRole, SelectorMatch>();
  if (pinnedElsewhere(rules, identity)) return { roles: [], near: [] };
  for (const { selector, rule } of rules.roles.candidates(identity)) {
    if (matchesSelector(selector, identity, "role", rules.vocabulary)) {
      const agent = selector.model.kind === "agent" || held.get(rule) === "agent";
      held.set(rule, agent ? "agent" : identity.kind);
    } else if (matchesIssuer(selector.model, identity)) {
      const match = explainSelector(selector, identity, rules.vocabulary);
      const known = near.get(rule);
      if (known === undefined || byNearness(match, known) < 0) near.set(rule, match);
    }
  }
  const nearest = [...near]
    .filter(([rule, match]) => !held.has(rule) && match.met > 0)
    .sort(([a, x], [b, y]) => byNearness(x, y) || compare(a.model.id, b.model.id));
  return {
    roles: [...held].map(([role, kind]) => ({ role, kind, memo: memo() })).sort((a, b) => a.role.rank - b.role.rank),
    near: nearest.slice(0, maxNear).map(([role, match]) => ({ role, match })),
  };
}

/** Fewest parts that fail, then most that hold; then anything that does not hang on the order of selectors. */
function byNearness(a: SelectorMatch, b: SelectorMatch): number {
  return a.of - a.met - (b.of - b.met) || b.met - a.met || compare(a.failed ?? "", b.failed ?? "");
}

function findDenies(rules: CompiledRules, identity: JobIdentity): readonly HeldDeny[] {
  const held = new Map<CompiledDeny, boolean>();
  for (const { selector, rule } of rules.denies.candidates(identity)) {
    if (!matchesSelector(selector, identity, "deny", rules.vocabulary)) continue;
    const agentsOnly = selector.model.kind === "agent" && identity.kind !== "agent";
    held.set(rule, agentsOnly && held.get(rule) !== false);
  }
  return [...held]
    .map(([deny, agentsOnly]) => ({ deny, agentsOnly, memo: memo() }))
    .sort((a, b) => a.deny.rank - b.deny.rank);
}
