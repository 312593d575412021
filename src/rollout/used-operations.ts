import { noCounts } from "../core/decision.ts";
import { noFacts } from "../core/fact.ts";
import type { JobIdentity, Vocabulary } from "../core/identity.ts";
import type { Operation } from "../core/target.ts";
import { compile } from "../policy/compile.ts";
import type { OperationModel, PolicyModel, RoleModel } from "../policy/model.ts";
import type { Policy } from "../policy/policy.ts";

/** The operations of a role at a target that cover a request: their places in the role's list. */
export type FindUsed = (role: string, target: string, identity: JobIdentity, operation: Operation) => readonly number[];

/**
 * Each operation is asked as a policy of its own, by the one decision function: it covers exactly what it would allow alone.
 * Such policies are made where a role is first asked about.
 */
export function usedOperations(model: PolicyModel, vocabulary: Vocabulary): FindUsed {
  const roles = new Map(model.roles.map((role) => [role.id, role]));
  const alone = new Map<string, readonly Policy[]>();
  const policiesOf = (role: RoleModel, target: string): readonly Policy[] => {
    const key = JSON.stringify([role.id, target]);
    const known = alone.get(key);
    if (known !== undefined) return known;
    const made = (role.allow[target] ?? []).map((operation) =>
      compile(onlyOf(model, role, target, operation), vocabulary),
    );
    alone.set(key, made);
    return made;
  };
  return (id, target, identity, operation) => {
    const role = roles.get(id);
    if (role === undefined) return [];
    const session = { id: "ses_replayed", identity, state: "active", openedAt: 0, hardEndAt: 1 } as const;
    const request = { session, narrowing: {}, target, operation, facts: noFacts, now: 0 };
    return policiesOf(role, target).flatMap((policy, at) =>
      policy.decide(request, noCounts).effect === "allow" ? [at] : [],
    );
  };
}

/** The role with this operation and no strings attached. */
function onlyOf(model: PolicyModel, role: RoleModel, target: string, operation: OperationModel): PolicyModel {
  const { when: _when, limit: _limit, ...rest } = role;
  const targets = model.targets.filter(({ name }) => name === target);
  return { ...model, targets, roles: [{ ...rest, allow: { [target]: [operation] } }], deny: [], events: [], tests: [] };
}

/** An operation as policy writes it. */
export function operationSource(operation: OperationModel): string {
  return operation.kind === "verb" ? operation.verb : operation.pattern.source;
}
