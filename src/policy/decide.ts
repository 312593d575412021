import type { AccessRequest, Closest, Counts, Decision, FactUse, LimitUse, ReasonCode } from "../core/decision.ts";
import { type ParsedPath, parsePath } from "../core/path.ts";
import type { SessionView } from "../core/session.ts";
import type { NatsOperation, Operation } from "../core/target.ts";
import { type Asked, evaluate, inNarrowing, limitOf } from "./asked.ts";
import { type CompiledRules, compare, type RoutedTarget, remember } from "./compiled-rules.ts";
import { factUses, withExplaining } from "./condition.ts";
import { findClosest } from "./explain.ts";
import { askedTokens, deniedAs } from "./match-nats.ts";
import { matchHttp } from "./match-path.ts";
import type { Mode } from "./model.ts";
import { findCovering, findSharing } from "./nats-trie.ts";
import type { HeldDeny, HeldRole, NatsReach, Reach, RoleRule, Rule, TargetReach } from "./reach.ts";
import { buildTargetReach } from "./target-reach.ts";

const noFactUses: readonly FactUse[] = Object.freeze([]);
const noRules: readonly Rule[] = Object.freeze([]);

/** The decision for one request of a job whose reach is known. Throws only where the request is not what its type says. */
export function decide(rules: CompiledRules, reach: Reach, request: AccessRequest, counts: Counts): Decision {
  const { operation, session, narrowing } = request;
  const over = stateProblem(session, request.now);
  const target = rules.targets.get(request.target);
  if (target === undefined) return plain(rules, over ?? "target_unknown", "enforce", false);
  const path = operation.kind === "http" ? parsePath(operation.path, target.model.encodedSlash) : undefined;
  const tokens = operation.kind === "nats" ? askedTokens(operation) : undefined;
  const barred = operation.kind === "nats" && tokens === undefined;
  // Never only observed: whoever may subscribe to everything reads the other jobs' inboxes.
  const mode = barred ? "enforce" : modeOf(target, operation, path);
  const at = targetReach(reach, target);
  if (over !== undefined) return plain(rules, over, mode, false);
  if (narrowing.targets !== undefined && !narrowing.targets.includes(request.target)) {
    return plain(rules, "outside_narrowing", mode, false);
  }
  if (operation.kind === "http" && !hostMatches(at, operation.host)) {
    return plain(rules, "host_mismatch", mode, at.unconditional);
  }
  if (path !== undefined && !path.ok) return plain(rules, "ambiguous_path", mode, at.unconditional);
  if (barred) return plain(rules, "subject_refused", mode, at.unconditional);
  const matched = match(at, operation, path, tokens);
  return judge({ rules, reach, at, request, counts, mode, matched, used: undefined });
}

function stateProblem(session: SessionView, now: number): ReasonCode | undefined {
  // Written so that an end that is no time is an end.
  if (!(session.hardEndAt > now)) return "session_ended";
  if (session.state === "active") return undefined;
  return session.state === "suspended" ? "session_suspended" : "session_ended";
}

export function targetReach(reach: Reach, target: RoutedTarget): TargetReach {
  const known = reach.targets[target.index];
  if (known !== undefined) return known;
  const fresh = buildTargetReach(target, reach);
  reach.targets[target.index] = fresh;
  return fresh;
}

/** `observe` where the target says so or the route does; a route that is enforced on an observed target wins. */
export function modeOf(target: RoutedTarget, operation: Operation, path: ParsedPath | undefined): Mode {
  const { mode } = target.model;
  if (target.modes === undefined || operation.kind !== "http" || !path?.ok) return mode;
  const routes = matchHttp(target.modes, operation.method, path);
  if (routes.length === 0) return mode;
  return routes.some((route) => route.mode === "enforce") ? "enforce" : "observe";
}

/** Only http targets have hosts: the mesh proves which service was called, and no other kind has requests. */
function hostMatches(at: TargetReach, host: string): boolean {
  return at.hosts.includes(host) || at.target.model.kind !== "http";
}

function match(
  at: TargetReach,
  operation: Operation,
  path: ParsedPath | undefined,
  tokens: readonly string[] | undefined,
): readonly Rule[] {
  if (operation.kind === "verb") {
    return at.verbs.filter(({ verb }) => verb === operation.verb).map(({ rule }) => rule);
  }
  if (operation.kind === "nats") {
    return at.nats === undefined || tokens === undefined ? noRules : matchNats(at.nats, operation, tokens);
  }
  return path?.ok ? matchHttp(at.http, operation.method, path) : noRules;
}

/** Roles that cover all of what is asked, and denies that touch any of it. */
function matchNats(nats: NatsReach, { verb, queue }: NatsOperation, tokens: readonly string[]): readonly Rule[] {
  if (!Object.hasOwn(deniedAs, verb)) return noRules;
  const matched = findSharing(nats.denies[deniedAs[verb]], tokens);
  for (const covering of findCovering(nats.roles[verb], tokens)) {
    if (covering.queue === undefined || covering.queue === queue) matched.push(covering.rule);
  }
  return matched;
}

function judge(asked: Asked): Decision {
  const { at, matched } = asked;
  const denies = deniesOf(at, matched);
  const denied = denies.find((held) => !held.agentsOnly && denyApplies(asked, held));
  if (denied !== undefined) return deny(asked, denied);
  const agentsDenied = denies.find((held) => held.agentsOnly && denyApplies(asked, held));
  let worst: Failure | undefined;
  let failed: HeldRole[] = [];
  let observed = false;
  for (const rule of rolesOf(matched)) {
    const outcome = tryRole(asked, rule, agentsDenied);
    if ("effect" in outcome) return outcome;
    observed ||= rule.held.role.model.mode === "observe" && softened.has(outcome.reason);
    if (worst === undefined || priority[outcome.reason] > priority[worst.reason]) {
      worst = outcome;
      failed = [];
    }
    if (outcome.reason === worst.reason && !failed.includes(rule.held)) failed.push(rule.held);
  }
  if (worst === undefined) return noRole(asked);
  const closest = worst.reason === "denied" ? undefined : findClosest(asked, failed);
  return refuse(asked, { ...worst, mode: observed ? "observe" : asked.mode, ...(closest ? { closest } : {}) });
}

/** What a role in observe mode lets through: its own strings, never the selector, the operation or a deny. */
const softened: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  "condition_failed",
  "fact_missing",
  "template_unfilled",
  "limit_exceeded",
]);

/** By rank, once each. */
function deniesOf(at: TargetReach, matched: readonly Rule[]): readonly HeldDeny[] {
  let denies: HeldDeny[] | undefined;
  for (const rule of matched) {
    if (rule.kind !== "deny") continue;
    denies ??= [...at.closed];
    if (!denies.includes(rule.held)) denies.push(rule.held);
  }
  return denies?.sort((a, b) => a.deny.rank - b.deny.rank) ?? at.closed;
}

/** A deny applies unless its condition is plainly false. */
function denyApplies(asked: Asked, { deny, agentsOnly, memo }: HeldDeny): boolean {
  if (deny.condition === undefined) return true;
  const kind = agentsOnly ? "agent" : asked.reach.identity.kind;
  return evaluate(asked, deny.condition, kind, memo).verdict !== "false";
}

/** By rank, whatever the order they were written in. */
function rolesOf(matched: readonly Rule[]): readonly RoleRule[] {
  const roles: RoleRule[] = [];
  for (const rule of matched) if (rule.kind === "role") roles.push(rule);
  if (roles.length < 2) return roles;
  return roles.sort(
    (a, b) =>
      a.held.role.rank - b.held.role.rank ||
      Number(b.stream) - Number(a.stream) ||
      compare(a.unfilled ?? "", b.unfilled ?? ""),
  );
}

/** Why a role whose operation matches does not allow it. */
interface Failure {
  readonly reason: keyof typeof priority;
  readonly missing?: string;
  readonly rule?: string;
  readonly retryAfterSeconds?: number;
}

/** Where roles fail for different reasons, the highest is said. */
const priority = {
  outside_narrowing: 1,
  stream_refused: 2,
  limit_exceeded: 3,
  template_unfilled: 4,
  condition_failed: 5,
  fact_missing: 6,
  denied: 7,
} as const satisfies Partial<Record<ReasonCode, number>>;

function tryRole(asked: Asked, rule: RoleRule, agentsDenied: HeldDeny | undefined): Decision | Failure {
  const { request } = asked;
  if (rule.simple && isFree(asked, agentsDenied)) return allow(asked, rule, undefined);
  const { role, memo, kind } = rule.held;
  if (!inNarrowing(request.narrowing, role.model.id)) return { reason: "outside_narrowing" };
  if (agentsDenied !== undefined && kind === "agent") return { reason: "denied", rule: agentsDenied.deny.model.id };
  if (request.operation.kind === "http" && request.operation.stream && !rule.stream)
    return { reason: "stream_refused" };
  if (rule.unfilled !== undefined) return { reason: "template_unfilled", missing: rule.unfilled };
  if (role.condition !== undefined) {
    const { verdict, missing } = evaluate(asked, role.condition, kind, memo);
    if (missing !== undefined) return { reason: "fact_missing", missing };
    if (verdict !== "true") return { reason: "condition_failed" };
  }
  const limit = limitOf(rule.held, asked.reach, request);
  return (limit && overLimit(asked.counts, limit)) ?? allow(asked, rule, limit);
}

/** Written so that a count that is no number is over the limit. */
function overLimit(counts: Counts, { key, windowMs, max }: LimitUse): Failure | undefined {
  if (counts.used(key, windowMs) < max) return undefined;
  const ms = counts.freeInMs?.(key, windowMs, max) ?? windowMs;
  return { reason: "limit_exceeded", retryAfterSeconds: Math.max(1, Math.ceil(ms / 1000)) };
}

/** True where nothing about the request itself could refuse a simple rule. */
function isFree({ request }: Asked, agentsDenied: HeldDeny | undefined): boolean {
  if (request.narrowing.roles !== undefined || agentsDenied !== undefined) return false;
  return request.operation.kind !== "http" || !request.operation.stream;
}

function allow(asked: Asked, rule: RoleRule, limit: LimitUse | undefined): Decision {
  const { mode, at, used } = asked;
  if (used !== undefined || limit !== undefined) return makeAllow(asked, rule, limit);
  const known = mode === "enforce" ? rule.enforced : rule.observed;
  if (known !== undefined) return known;
  const { decisions } = rule.held.role;
  const decision = remember(decisions, mode, at.unconditional, () => makeAllow(asked, rule, undefined));
  if (mode === "enforce") rule.enforced = decision;
  else rule.observed = decision;
  return decision;
}

function makeAllow({ mode, rules, at, used, request }: Asked, rule: RoleRule, limit: LimitUse | undefined): Decision {
  return {
    effect: "allow",
    reason: "allowed",
    mode,
    rule: rule.held.role.model.id,
    policyVersion: rules.version,
    facts: used === undefined ? noFactUses : factUses(used, request.facts, request.now),
    unconditional: at.unconditional,
    ...(limit === undefined ? {} : { limit }),
  };
}

function deny(asked: Asked, { deny: { model, decisions } }: HeldDeny): Decision {
  const { at, mode, request, used } = asked;
  const make = () => refuse(asked, { reason: "denied", mode, rule: model.id });
  return used === undefined ? remember(decisions, mode, isUnconditional(at, request), make) : make();
}

function noRole(asked: Asked): Decision {
  const { at, matched, mode, request, used } = asked;
  // A rule that matched is of a role others have: then it depends on the operation which of them is nearest.
  const steady = used === undefined && matched.length === 0 && isUnconditional(at, request);
  const known = steady ? at.noRole[mode] : undefined;
  if (known !== undefined) return known;
  const closest = findClosest(asked, []);
  const decision = refuse(asked, { reason: "no_role", mode, ...(closest ? { closest } : {}) });
  if (steady) at.noRole[mode] = Object.freeze(decision);
  return decision;
}

/** A token narrowed to roles has a say in what is refused. */
const isUnconditional = (at: TargetReach, request: AccessRequest) =>
  at.unconditional && request.narrowing.roles === undefined;

type Refusal = Pick<Decision, "reason" | "mode" | "rule" | "missing" | "retryAfterSeconds"> & {
  readonly closest?: Closest;
};

function refuse({ rules, at, used, request }: Asked, refusal: Refusal): Decision {
  return {
    effect: "deny",
    ...refusal,
    policyVersion: rules.version,
    facts: used === undefined ? noFactUses : factUses(withExplaining(used), request.facts, request.now),
    unconditional: isUnconditional(at, request),
  };
}

function plain(rules: CompiledRules, reason: ReasonCode, mode: Mode, unconditional: boolean): Decision {
  return remember(rules.refusals[reason], mode, unconditional, () =>
    refusal(rules.version, reason, mode, unconditional),
  );
}

/** A denial with nothing to say but its reason. */
export function refusal(policyVersion: string, reason: ReasonCode, mode: Mode, unconditional: boolean): Decision {
  return { effect: "deny", reason, mode, policyVersion, facts: noFactUses, unconditional };
}
