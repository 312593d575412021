import type { Facts } from "../core/fact.ts";
import type { RoutedTarget } from "./compiled-rules.ts";
import { compare } from "./compiled-rules.ts";
import { coversTokens, deniedAs, type FilledNats, fillNats, sharesTokens } from "./match-nats.ts";
import type { OperationModel } from "./model.ts";
import type { NatsRights, NatsRightsNow, WithheldRole } from "./policy.ts";
import type { HeldDeny, HeldRole, Reach } from "./reach.ts";
import { conditionProblem, mayApply } from "./role-standing.ts";
import { operationsOf, touches } from "./target-reach.ts";

export const noNatsRights: NatsRights = Object.freeze({
  pub: [],
  req: [],
  sub: [],
  pull: [],
  roles: [],
  observed: false,
});

/** See `Policy.natsRights`. Pure. A template that cannot be filled is a `*` where its role is observed: `decide` lets it through. */
export function natsRights({ roles, identity }: Reach, { model }: RoutedTarget): NatsRights {
  const patterns: FilledNats[] = [];
  const ids: string[] = [];
  for (const held of roles) {
    const observed = held.role.model.mode === "observe";
    const own = patternsOf(held.role.model.allow, model.name, identity.variables).filter(
      ({ unfilled }) => unfilled === undefined || observed,
    );
    if (own.length > 0) ids.push(held.role.model.id);
    patterns.push(...own);
  }
  return rightsOf(patterns, ids, model.mode === "observe");
}

/** See `Policy.natsRightsNow`. Pure. */
export function natsRightsNow(reach: Reach, { model }: RoutedTarget, facts: Facts, now: number): NatsRightsNow {
  const { name } = model;
  const { variables } = reach.identity;
  const inForce = reach.denies.filter((deny) => touches(deny.deny.model, name) && mayApply(reach, deny, facts, now));
  const denied = (agents: boolean) => inForce.filter(({ agentsOnly }) => agentsOnly === agents).map(denyOf);
  const denyOf = (held: HeldDeny): Denied => ({
    held,
    patterns: Object.hasOwn(held.deny.model.operations, name)
      ? patternsOf(held.deny.model.operations, name, variables)
      : undefined,
  });
  const [everybody, agents] = [denied(false), denied(true)];
  const patterns: FilledNats[] = [];
  const ids: string[] = [];
  const withheld: WithheldRole[] = [];
  for (const held of reach.roles) {
    const { id, allow } = held.role.model;
    const own = patternsOf(allow, name, variables).filter(({ unfilled }) => unfilled === undefined);
    if (own.length === 0) continue;
    const problem = standingProblem(reach, held, facts, now);
    if (problem !== undefined) withheld.push({ role: id, ...problem });
    if (problem !== undefined) continue;
    const { left, by } = takeOut(own, everybody, held.kind === "agent" ? agents : []);
    if (by !== undefined) withheld.push({ role: id, reason: "denied", detail: by });
    if (left.length > 0) ids.push(id);
    patterns.push(...left);
  }
  const denials = everybody.flatMap(({ patterns: list }) => list ?? []);
  return {
    ...rightsOf(patterns, ids, model.mode === "observe"),
    deny: denialsOf(denials, patterns),
    withheld: withheld.toSorted((a, b) => compare(a.role, b.role)),
  };
}

interface Denied {
  readonly held: HeldDeny;
  /** Undefined: the target whole. */
  readonly patterns: readonly FilledNats[] | undefined;
}

type Problem = Omit<WithheldRole, "role">;

function standingProblem(reach: Reach, held: HeldRole, facts: Facts, now: number): Problem | undefined {
  if (held.role.model.limit !== undefined) return { reason: "limited", detail: "" };
  return conditionProblem(reach, held, facts, now);
}

/**
 * A role's patterns without those that denies forbid altogether, and the first deny that forbids any. A server applies its
 * denials to the whole connection, so what is denied to agents alone is taken out of the agent's role instead.
 */
function takeOut(own: readonly FilledNats[], everybody: readonly Denied[], agents: readonly Denied[]) {
  const first: Denied[] = [];
  const left = own.filter((pattern) => {
    const agent = agents.find(({ patterns }) => touchedBy(pattern, patterns, sharesTokens));
    const whole = everybody.find(({ patterns }) => touchedBy(pattern, patterns, coversTokens));
    const part = everybody.find(({ patterns }) => touchedBy(pattern, patterns, sharesTokens));
    const deny = agent ?? whole ?? part;
    if (deny !== undefined) first.push(deny);
    return agent === undefined && whole === undefined;
  });
  const [by] = first.map(({ held }) => held.deny.model.id).toSorted(compare);
  return { left, by };
}

type TokenRelation = (deny: readonly string[], pattern: readonly string[]) => boolean;

function touchedBy(pattern: FilledNats, denies: readonly FilledNats[] | undefined, relation: TokenRelation): boolean {
  if (denies === undefined) return true;
  return denies.some(
    ({ verb, tokens }) => deniedAs[verb] === deniedAs[pattern.verb] && relation(tokens, pattern.tokens),
  );
}

/** Denials that take something out of the patterns. */
function denialsOf(denials: readonly FilledNats[], patterns: readonly FilledNats[]): NatsRightsNow["deny"] {
  const bearing = denials
    .filter((deny) => patterns.some((pattern) => touchedBy(pattern, [deny], sharesTokens)))
    .map((deny) => ({ ...deny, queue: undefined }));
  const as = (what: (typeof deniedAs)["pub" | "sub" | "pull"]) =>
    widest(bearing.filter(({ verb }) => deniedAs[verb] === what));
  return { pub: as("send").map(subjectOf), sub: as("sub").map(subjectOf), pull: as("pull").map(consumerOf) };
}

function rightsOf(patterns: readonly FilledNats[], roles: readonly string[], observed: boolean): NatsRights {
  const of = (verb: FilledNats["verb"]) => widest(patterns.filter((pattern) => pattern.verb === verb));
  return {
    pub: of("pub").map(subjectOf),
    req: of("req").map(subjectOf),
    sub: of("sub").map(({ tokens, queue }) => ({
      subject: tokens.join("."),
      ...(queue === undefined ? {} : { queue }),
    })),
    pull: of("pull").map(consumerOf),
    roles: roles.toSorted(compare),
    observed,
  };
}

const subjectOf = ({ tokens }: FilledNats) => tokens.join(".");
const consumerOf = ({ tokens: [stream = "", consumer = ""] }: FilledNats) => ({ stream, consumer });

/** Sorted, each once, without those that another one covers: the same rights give the same bytes. */
function widest(patterns: readonly FilledNats[]): readonly FilledNats[] {
  const keyOf = ({ tokens, queue }: FilledNats) => `${tokens.join(".")} ${queue ?? ""}`;
  const distinct = new Map(patterns.map((pattern) => [keyOf(pattern), pattern]));
  const list = [...distinct].toSorted(([a], [b]) => compare(a, b)).map(([, pattern]) => pattern);
  const covers = (wide: FilledNats, narrow: FilledNats) =>
    wide !== narrow &&
    (wide.queue === undefined || wide.queue === narrow.queue) &&
    coversTokens(wide.tokens, narrow.tokens);
  return list.filter((pattern) => !list.some((other) => covers(other, pattern)));
}

function patternsOf(
  operations: Readonly<Record<string, readonly OperationModel[]>>,
  target: string,
  variables: Readonly<Record<string, string>>,
): readonly FilledNats[] {
  return operationsOf(operations, target).flatMap((operation) =>
    operation.kind === "nats" ? [fillNats(operation.pattern, variables)] : [],
  );
}
