import {
  type AccessRequest,
  type Beside,
  type Counts,
  type Decision,
  type LimitUse,
  outcomeOf,
} from "../core/decision.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { Canary } from "../core/policy-record.ts";
import type { Policy, SharedRoute } from "./policy.ts";
import { sha256 } from "./sha256.ts";

/** Uses of limits as they would be had the candidate decided everything; never those that count. */
export interface ShadowCounts extends Counts {
  count(use: LimitUse): void;
}

export interface BesideOptions {
  readonly active: Policy;
  readonly candidate: Policy;
  readonly canary: Canary;
  readonly shadow: ShadowCounts;
  /** The policy that only looks on failed: for the log and the count. Must not throw. */
  onFault(error: unknown): void;
}

/**
 * The active policy with a candidate beside it. Each job is decided by one of the two, the candidate where it is in the canary,
 * in everything that asks about a job. The other decides each request as well; where its outcome differs the decision says so
 * (`beside`) and is otherwise untouched, also where the other one throws.
 */
export function besidePolicy(options: BesideOptions): Policy {
  const { active, candidate, canary } = options;
  const tries = canaryTest(canary, candidate.version);
  const own = (identity: JobIdentity): Policy => (tries(identity) ? candidate : active);
  const anyone = canary.projects.length > 0 || canary.share > 0;
  return {
    ...active,
    inForce: JSON.stringify([active.inForce, candidate.inForce, canary]),
    versionFor: (identity) => own(identity).version,
    // What only the candidate has is nobody's but the canary's: the active policy knows no such target.
    targets: anyone ? new Map([...candidate.targets, ...active.targets]) : active.targets,
    targetFor: (name, identity) => own(identity).targets.get(name),
    rolesFor: (identity) => own(identity).rolesFor(identity),
    deniesFor: (identity, targets) => own(identity).deniesFor(identity, targets),
    standings: (identity, facts, now) => own(identity).standings(identity, facts, now),
    // Both need theirs, or one would decide without.
    factsFor: (identity) => [...new Set([...active.factsFor(identity), ...factsOf(options, identity)])].sort(),
    decide: (request, counts) => decideBoth(options, tries(request.session.identity), request, counts),
    unidentified: (target, method, path) => sharedRoute(options, target, method, path),
    denyReason: (id, identity) => (identity === undefined ? active : own(identity)).denyReason(id),
    hostsFor: (target, identity) => own(identity).hostsFor(target, identity),
    natsAccount: (target, identity) => own(identity).natsAccount(target, identity),
    natsRights: (identity, target) => own(identity).natsRights(identity, target),
    natsRightsNow: (identity, target, facts, now) => own(identity).natsRightsNow(identity, target, facts, now),
  };
}

function factsOf({ candidate, onFault }: BesideOptions, identity: JobIdentity): readonly string[] {
  try {
    return candidate.factsFor(identity);
  } catch (error) {
    onFault(error);
    return [];
  }
}

function decideBoth(options: BesideOptions, canary: boolean, request: AccessRequest, counts: Counts): Decision {
  const { active, candidate } = options;
  const decision = (canary ? candidate : active).decide(request, counts);
  const beside = otherWord(options, canary ? active : candidate, canary ? counts : options.shadow, request, decision);
  if (beside === undefined) return canary ? { ...decision, canary: true } : decision;
  return canary ? { ...decision, canary: true, beside } : { ...decision, beside };
}

/** What the policy that does not decide says, where its outcome is another. */
function otherWord(
  { shadow, candidate, onFault }: BesideOptions,
  other: Policy,
  counts: Counts,
  request: AccessRequest,
  decision: Decision,
): Beside | undefined {
  try {
    const said = other.decide(request, counts);
    // Only requests that gateways make are uses; a question of what would be is none.
    if (said.limit !== undefined && request.gateway !== undefined && other === candidate) shadow.count(said.limit);
    const outcome = outcomeOf(said);
    if (outcome === outcomeOf(decision)) return undefined;
    const { policyVersion: policy, reason, rule } = said;
    return { policy, outcome, reason, ...(rule === undefined ? {} : { rule }) };
  } catch (error) {
    onFault(error);
    return undefined;
  }
}

function sharedRoute(
  { active, candidate, onFault }: BesideOptions,
  target: string,
  method: string,
  path: string,
): SharedRoute {
  const route = active.unidentified(target, method, path);
  try {
    const { pass, mode } = candidate.unidentified(target, method, path);
    if (pass === route.pass && (pass || mode === route.mode)) return route;
    return { ...route, beside: { policy: candidate.version, pass, mode } };
  } catch (error) {
    onFault(error);
    return route;
  }
}

/** Whether a job's project tries the candidate; found once for each identity. */
export function canaryTest({ projects, share }: Canary, candidate: string): (identity: JobIdentity) => boolean {
  if (projects.length === 0 && share <= 0) return () => false;
  const named = new Set(projects);
  const known = new WeakMap<JobIdentity, boolean>();
  return (identity) => {
    let tries = known.get(identity);
    if (tries === undefined) {
      const { id, path } = identity.project;
      tries = named.has(path) || named.has(id) || placeOf(candidate, identity) < share;
      known.set(identity, tries);
    }
    return tries;
  };
}

/** Where a project stands among all, 0 to 100, the same every time and for each candidate another. */
function placeOf(candidate: string, { issuer, project }: JobIdentity): number {
  const hash = sha256(`${candidate}\n${issuer}\n${project.id}`);
  return (Number.parseInt(hash.slice(0, 8), 16) / 2 ** 32) * 100;
}
