import type {
  DenyModel,
  HttpPattern,
  Mode,
  OperationModel,
  Place,
  PolicyModel,
  RoleModel,
  RouteModel,
  SelectorModel,
  TargetModel,
} from "./model.ts";
import { overlaps } from "./parse-http-pattern.ts";

/**
 * A policy as gateways see it that decide natively, from a verified token's `roles` and `denies` alone. Whatever needs
 * more (facts, counts, the job's own values) is a clause that has to be asked.
 */
export interface NativePolicy {
  readonly version: string;
  /** HTTP and mesh targets, by name. */
  readonly targets: ReadonlyMap<string, NativeTarget>;
}

export interface NativeTarget {
  readonly name: string;
  readonly model: TargetModel;
  /** Every operation that some role allows, by pattern: first by path, then by method. */
  readonly routes: readonly NativeRoute[];
  /** Operations of roles that depend on the token alone. */
  readonly allows: readonly NativeAllow[];
  /** Denies that depend on the token alone. */
  readonly denies: readonly NativeDeny[];
  /** What no token answers. A request that matches one of them is for the decision point. */
  readonly asked: readonly AskedClause[];
}

/** One operation as policy writes it, with everything that bears on it. */
export interface NativeRoute {
  readonly pattern: HttpPattern;
  readonly mode: Mode;
  /** Some operation of this pattern says `stream: true`. */
  readonly stream: boolean;
  /** Some of its requests pass without an identity. */
  readonly shared: boolean;
  /** Ids of the roles that allow exactly this pattern. */
  readonly roles: readonly string[];
  /** Ids of the denies that bear on some of its requests. */
  readonly denies: readonly string[];
  /** Clauses that bear on some of its requests; empty: the route is native, all of it. */
  readonly asked: readonly AskedClause[];
}

export interface NativeAllow {
  readonly role: string;
  readonly pattern: HttpPattern;
  readonly place: Place;
}

export interface NativeDeny {
  readonly deny: string;
  /** Undefined: the whole target. */
  readonly pattern: HttpPattern | undefined;
  readonly place: Place;
}

/** A clause that no token answers. */
export interface AskedClause {
  readonly rule: "role" | "deny";
  readonly id: string;
  /** Undefined: the whole target. */
  readonly pattern: HttpPattern | undefined;
  /** In words that go on after `because`. */
  readonly because: string;
  readonly place: Place;
}

/**
 * Pure, and in the same order whatever order the policy was written in. What a target says of itself (proof, assertion,
 * encoded slashes, templates in hosts) is left to whoever renders. `counted`: a gateway in front has asked about limits.
 */
export function nativePolicy(
  model: PolicyModel,
  { counted = false }: { readonly counted?: boolean } = {},
): NativePolicy {
  const roles = model.roles.toSorted(byId);
  const denies = model.deny.toSorted(byId);
  const targets = model.targets
    .filter(({ kind }) => kind === "http" || kind === "mesh")
    .toSorted((a, b) => compare(a.name, b.name));
  return {
    version: model.version,
    targets: new Map(
      targets.map((target) => [target.name, nativeTarget(target, counted ? roles.map(unlimited) : roles, denies)]),
    ),
  };
}

function nativeTarget(model: TargetModel, roles: readonly RoleModel[], denies: readonly DenyModel[]): NativeTarget {
  const allows: NativeAllow[] = [];
  const deniesAlone: NativeDeny[] = [];
  const asked: AskedClause[] = [];
  for (const role of roles) {
    for (const { pattern, place } of operationsOf(role.allow, model.name)) {
      const because = roleNeeds(role, pattern);
      if (because === undefined) allows.push({ role: role.id, pattern, place });
      else asked.push({ rule: "role", id: role.id, pattern, ...because });
    }
  }
  const agents = roles.some((role) => role.for.some(actsAsAgent) && operationsOf(role.allow, model.name).length > 0);
  for (const deny of denies) {
    for (const pattern of deniedPatterns(deny, model.name)) {
      const because = denyNeeds(deny, pattern, agents);
      if (because === undefined) deniesAlone.push({ deny: deny.id, pattern, place: deny.place });
      else asked.push({ rule: "deny", id: deny.id, pattern, ...because });
    }
  }
  const routes = routesOf(model, roles, deniesAlone, asked);
  return { name: model.name, model, routes, allows, denies: deniesAlone, asked };
}

type Needs = Pick<AskedClause, "because" | "place"> | undefined;

function roleNeeds({ id, when, limit, place }: RoleModel, pattern: HttpPattern): Needs {
  if (when !== undefined) {
    return { because: `role ${id} has a condition: when: ${when.source}`, place: when.place };
  }
  if (limit !== undefined) return { because: `role ${id} has a limit`, place };
  if (hasTemplate(pattern)) return { because: `role ${id} fills ${pattern.source} for each job`, place };
  return undefined;
}

/**
 * A deny of agents bears on a job only where a role makes an agent of it, and no token says by which selector it has its
 * roles.
 */
function denyNeeds({ id, when, place, ...deny }: DenyModel, pattern: HttpPattern | undefined, agents: boolean): Needs {
  if (when !== undefined) {
    return { because: `deny ${id} has a condition: when: ${when.source}`, place: when.place };
  }
  if (pattern !== undefined && hasTemplate(pattern)) {
    return { because: `deny ${id} fills ${pattern.source} for each job`, place };
  }
  if (agents && deny.for.some(actsAsAgent)) {
    return { because: `deny ${id} is about agents, and a role here makes an agent of a job`, place };
  }
  return undefined;
}

const unlimited = ({ limit: _, ...role }: RoleModel): RoleModel => role;

const actsAsAgent = ({ kind }: SelectorModel) => kind === "agent";

const hasTemplate = ({ segments }: HttpPattern) => segments.some(({ kind }) => kind === "template");

function operationsOf(operations: Readonly<Record<string, readonly OperationModel[]>>, target: string) {
  const all = Object.hasOwn(operations, target) ? (operations[target] ?? []) : [];
  return all.flatMap((operation) => (operation.kind === "http" ? [operation] : []));
}

/** `[undefined]` for a deny of the whole target, nothing for one that is about others. */
function deniedPatterns(deny: DenyModel, target: string): readonly (HttpPattern | undefined)[] {
  if (Object.hasOwn(deny.operations, target))
    return operationsOf(deny.operations, target).map(({ pattern }) => pattern);
  return deny.targets.length === 0 || deny.targets.includes(target) ? [undefined] : [];
}

function routesOf(
  model: TargetModel,
  roles: readonly RoleModel[],
  denies: readonly NativeDeny[],
  asked: readonly AskedClause[],
): readonly NativeRoute[] {
  const byPattern = new Map<string, { pattern: HttpPattern; roles: Set<string>; stream: boolean }>();
  for (const role of roles) {
    for (const { pattern } of operationsOf(role.allow, model.name)) {
      const known = byPattern.get(pattern.source) ?? { pattern, roles: new Set(), stream: false };
      known.roles.add(role.id);
      known.stream ||= pattern.stream;
      byPattern.set(pattern.source, known);
    }
  }
  const pathOf = (pattern: HttpPattern) => pattern.source.slice(pattern.method.length + 1);
  return [...byPattern.values()]
    .toSorted((a, b) => compare(pathOf(a.pattern), pathOf(b.pattern)) || compare(a.pattern.source, b.pattern.source))
    .map(({ pattern, stream, roles: ids }) => {
      const touching = touches(pattern);
      return {
        pattern,
        mode: modeOf(model, pattern),
        stream,
        shared: model.unidentified.some(touching),
        roles: [...ids].toSorted(compare),
        denies: [...new Set(denies.filter(touching).map(({ deny }) => deny))],
        asked: asked.filter(touching),
      };
    });
}

/** True where one request could match both; a clause without a pattern is about every request. */
const touches = (route: HttpPattern) => (clause: { readonly pattern: HttpPattern | undefined }) =>
  clause.pattern === undefined || overlaps(route, clause.pattern);

/** `enforce` as soon as some of its requests may be enforced. */
function modeOf(model: TargetModel, pattern: HttpPattern): Mode {
  const some = (routes: readonly RouteModel[] | undefined) => routes?.some(touches(pattern)) === true;
  if (some(model.enforce)) return "enforce";
  if (model.mode === "observe") return "observe";
  return model.observe.some((route) => route.pattern.source === pattern.source) ? "observe" : "enforce";
}

const byId = (a: { readonly id: string }, b: { readonly id: string }) => compare(a.id, b.id);
/** By code units: the same order on every machine. */
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
