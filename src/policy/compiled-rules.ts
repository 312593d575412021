import { type Decision, type ReasonCode, reasonCodes } from "../core/decision.ts";
import type { JobIdentity, Vocabulary } from "../core/identity.ts";
import { type Condition, compileCondition } from "./condition.ts";
import { addPattern, type HttpEnd, httpEnd, type SegmentTrie, segmentTrie } from "./match-path.ts";
import { compileSelector } from "./match-selector.ts";
import type {
  DenyModel,
  Mode,
  OperationModel,
  PathSegment,
  PolicyModel,
  RoleModel,
  RouteModel,
  TargetModel,
} from "./model.ts";
import type { RoleSummary } from "./policy.ts";
import { indexSelectors, type SelectorIndex } from "./selector-index.ts";

export interface CompiledRole {
  readonly model: RoleModel;
  readonly condition: Condition | undefined;
  readonly summary: RoleSummary;
  /** Order in which roles are tried: those without strings attached first, then by id. */
  readonly rank: number;
  readonly decisions: Decisions;
}

export interface CompiledDeny {
  readonly model: DenyModel;
  readonly condition: Condition | undefined;
  readonly rank: number;
  readonly decisions: Decisions;
}

/** Decisions that hang on nothing but a rule or a reason, made once for all jobs: see `remember`. */
export type Decisions = (Decision | undefined)[];
const forgetful = (): Decisions => [undefined, undefined, undefined, undefined];

/** The one decision for this mode and this `unconditional`, frozen. */
export function remember(decisions: Decisions, mode: Mode, unconditional: boolean, make: () => Decision): Decision {
  const slot = (mode === "observe" ? 2 : 0) + (unconditional ? 1 : 0);
  const known = decisions[slot];
  if (known !== undefined) return known;
  const decision = Object.freeze(make());
  decisions[slot] = decision;
  return decision;
}

export interface RouteEnd extends HttpEnd {
  readonly mode: Mode;
}

export interface RoutedTarget {
  readonly model: TargetModel;
  readonly index: number;
  /** Routes with a mode of their own; `enforce` wins. */
  readonly modes: SegmentTrie<RouteEnd> | undefined;
  /** Routes that are `unidentified: pass`. */
  readonly shared: SegmentTrie<RouteEnd> | undefined;
}

/** A policy with everything that does not depend on the job made ready. */
export interface CompiledRules {
  readonly version: string;
  readonly vocabulary: Vocabulary;
  readonly pins: PolicyModel["pins"];
  readonly targets: ReadonlyMap<string, RoutedTarget>;
  /** Names of NATS accounts that are written out. */
  readonly accounts: ReadonlySet<string>;
  readonly roles: SelectorIndex<CompiledRole>;
  readonly denies: SelectorIndex<CompiledDeny>;
  readonly refusals: Readonly<Record<ReasonCode, Decisions>>;
}

export function compileRules(written: PolicyModel, vocabulary: Vocabulary): CompiledRules {
  const model = shareTexts(written);
  const roles = model.roles.toSorted(byStrings).map(
    (role, rank): CompiledRole => ({
      model: role,
      condition: role.when && compileCondition(role.when),
      summary: summary(role),
      rank,
      decisions: forgetful(),
    }),
  );
  const denies = model.deny
    .toSorted((a, b) => compare(a.id, b.id))
    .map(
      (deny, rank): CompiledDeny => ({
        model: deny,
        condition: deny.when && compileCondition(deny.when),
        rank,
        decisions: forgetful(),
      }),
    );
  const entries = <R extends CompiledRole | CompiledDeny>(rules: readonly R[]) =>
    rules.flatMap((rule) => rule.model.for.map((selector) => ({ selector: compileSelector(selector), rule })));
  return {
    version: model.version,
    vocabulary,
    pins: model.pins,
    targets: new Map(model.targets.map((target, index) => [target.name, routeTarget(target, index)])),
    accounts: new Set(
      model.targets.flatMap(({ settings: { account } }) => (typeof account === "string" ? [account] : [])),
    ),
    roles: indexSelectors(entries(roles), "role", vocabulary),
    denies: indexSelectors(entries(denies), "deny", vocabulary),
    refusals: Object.fromEntries(
      Object.keys(reasonCodes).map((reason) => [reason, forgetful()]),
    ) as CompiledRules["refusals"],
  };
}

/**
 * The same policy, equal path texts being one string: thousands of jobs then compare paths against few strings, which stay
 * in the processor's cache.
 */
function shareTexts(model: PolicyModel): PolicyModel {
  const texts = new Map<string, string>();
  const share = (text: string): string => {
    const known = texts.get(text);
    if (known === undefined) texts.set(text, text);
    return known ?? text;
  };
  const segmentOf = (segment: PathSegment): PathSegment =>
    segment.kind === "literal" ? { kind: "literal", text: share(segment.text) } : segment;
  const operationOf = (operation: OperationModel): OperationModel =>
    operation.kind === "http"
      ? { ...operation, pattern: { ...operation.pattern, segments: operation.pattern.segments.map(segmentOf) } }
      : operation;
  const allowOf = (allow: RoleModel["allow"]) =>
    Object.fromEntries(Object.entries(allow).map(([target, operations]) => [target, operations.map(operationOf)]));
  return { ...model, roles: model.roles.map((role) => ({ ...role, allow: allowOf(role.allow) })) };
}

const strings = (role: RoleModel) => (role.when ? 2 : 0) + (role.limit ? 1 : 0);
/** By code units: the same order on every machine. */
export const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const byStrings = (a: RoleModel, b: RoleModel) => strings(a) - strings(b) || compare(a.id, b.id);

function summary(role: RoleModel): RoleSummary {
  const targets = Object.keys(role.allow).sort();
  const { id, ttlSeconds, until, spiffeId } = role;
  return {
    id,
    targets,
    ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
    until,
    ...(spiffeId === undefined ? {} : { spiffeId }),
  };
}

function routeTarget(model: TargetModel, index: number): RoutedTarget {
  const modes = segmentTrie<RouteEnd>();
  for (const route of model.observe) addRoute(modes, route, "observe");
  for (const route of model.enforce ?? []) addRoute(modes, route, "enforce");
  const shared = segmentTrie<RouteEnd>();
  for (const route of model.unidentified) addRoute(shared, route, "enforce");
  return {
    model,
    index,
    modes: model.observe.length + (model.enforce?.length ?? 0) > 0 ? modes : undefined,
    shared: model.unidentified.length > 0 ? shared : undefined,
  };
}

/** A route knows no job, so one with a template matches nothing. */
function addRoute(trie: SegmentTrie<RouteEnd>, { pattern }: RouteModel, mode: Mode): void {
  const segments = pattern.segments.filter((segment) => segment.kind !== "template");
  if (segments.length === pattern.segments.length) addPattern(trie, segments, { ...httpEnd(pattern), mode });
}

/** True where the job's path is pinned to another project's id: then the path was given to somebody else. */
export function pinnedElsewhere(rules: CompiledRules, identity: JobIdentity): boolean {
  const key = `${identity.issuer}/${identity.project.path}`;
  return Object.hasOwn(rules.pins, key) && rules.pins[key] !== identity.project.id;
}
