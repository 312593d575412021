import { compileCondition } from "./condition.ts";
import type {
  ConditionModel,
  DenyModel,
  EventModel,
  OperationModel,
  Place,
  PolicyModel,
  RoleModel,
  RouteModel,
  SelectorModel,
  TargetModel,
} from "./model.ts";

/**
 * What kind of right it is. `allow`: a role's. `soft`: what a role in observe mode lets through though its own strings do not
 * hold. `open`: what an observed target lets through. `unidentified`: what passes without an identity. `identity`: a SPIFFE ID
 * of a role. `start`: a pipeline an event may start. `setting`: a target asks for less.
 */
export type Area = "allow" | "soft" | "open" | "unidentified" | "identity" | "start" | "setting";

/** What a right hangs on besides who and what. */
export interface Terms {
  /** Top-level `&&` parts, each in one spelling. */
  readonly when: readonly string[];
  readonly ttlSeconds?: number;
  readonly until: "job" | "pipeline";
  readonly limit?: { readonly max: number; readonly windowMs: number; readonly per: string; readonly scope: string };
  /** Of a setting or a chain of events: how much of it. */
  readonly level: number;
}

/** One selector, one address, one operation: the smallest thing a policy can give. */
export interface Right {
  readonly area: Area;
  /** Absent: everybody who asks. */
  readonly who?: SelectorModel;
  /** What is reached, whatever the target is called: `http billing.internal`. */
  readonly unit: string;
  readonly target: string;
  readonly operation: OperationModel;
  readonly terms: Terms;
  /** Selectors that make whoever has the role an agent, sorted; a deny of agents is about them. */
  readonly agents: readonly string[];
  /** Role or event it comes from. */
  readonly source?: { readonly id: string; readonly place: Place };
}

/** One selector and one operation of a deny; or a route of an observed target that is enforced all the same. */
export interface Bar {
  /** Whether it forbids what roles give, or what observing lets through. */
  readonly against: "roles" | "open";
  /** Absent: everybody. */
  readonly who?: SelectorModel;
  /** Absent: every target. */
  readonly unit?: string;
  /** Absent: the whole target. */
  readonly operation?: OperationModel;
  readonly when: readonly string[];
  readonly id: string;
  readonly place: Place;
}

export interface Rights {
  readonly rights: readonly Right[];
  readonly bars: readonly Bar[];
  readonly units: ReadonlySet<string>;
}

/** Everything a policy gives and takes, taken apart. Templates stay as written. */
export function rightsOf(model: PolicyModel): Rights {
  const units = new Map(model.targets.map((target) => [target.name, unitsOf(target)]));
  return {
    rights: [
      ...model.roles.flatMap((role) => roleRights(role, units)),
      ...model.targets.flatMap(targetRights),
      ...model.events.flatMap(eventRights),
    ],
    bars: [...model.deny.flatMap((deny) => barsOf(deny, units)), ...model.targets.flatMap(enforcedRoutes)],
    units: new Set([...units.values()].flat()),
  };
}

type Units = ReadonlyMap<string, readonly string[]>;

/** Settings that say nothing of what is reached. */
const bookkeeping: ReadonlySet<string> = new Set(["records", "deliveries"]);

/** A host belongs to one target, so each is an address of its own; other kinds have one address. */
export function unitsOf({ kind, hosts, settings, name }: TargetModel): readonly string[] {
  if (kind === "http") return hosts.map((host) => `http ${host}`);
  const address = Object.entries(settings)
    .filter(([key]) => !bookkeeping.has(key))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : value.toSorted().join(",")}`);
  return [`${kind} ${address.length > 0 ? address.join(" ") : name}`];
}

function roleRights(role: RoleModel, units: Units): readonly Right[] {
  const agents = role.for.filter(({ kind }) => kind === "agent").map(selectorKey);
  const source = { id: role.id, place: role.place };
  const terms = (target: string): Terms => ({
    when: conjunctsOf(role.when, target),
    ...(role.ttlSeconds === undefined ? {} : { ttlSeconds: role.ttlSeconds }),
    until: role.until,
    ...(role.limit === undefined ? {} : { limit: role.limit }),
    level: 0,
  });
  const shared = { agents: agents.toSorted(), source };
  return alternatives(role.for).flatMap((who) => {
    const allowed = Object.entries(role.allow).flatMap(([target, operations]) =>
      (units.get(target) ?? []).flatMap((unit) =>
        operations.map(
          (operation): Right => ({ area: "allow", who, unit, target, operation, terms: terms(target), ...shared }),
        ),
      ),
    );
    const soft = role.mode === "observe" ? allowed.map(softened) : [];
    const { spiffeId } = role;
    if (spiffeId === undefined) return [...allowed, ...soft];
    const operation = verb(spiffeId, role.place);
    const named: Right = {
      area: "identity",
      who,
      unit: "identity",
      target: "",
      operation,
      terms: terms(""),
      ...shared,
    };
    return [...allowed, ...soft, named];
  });
}

const free: Terms = { when: [], until: "pipeline", level: 0 };
const verb = (text: string, place: Place): OperationModel => ({ kind: "verb", verb: text, place });

/** Conditions, limits and templates of a role in observe mode are not asked. */
function softened(right: Right): Right {
  const { operation } = right;
  if (operation.kind === "verb") return { ...right, area: "soft", terms: free };
  if (operation.kind === "http") {
    const { pattern } = operation;
    const segments = pattern.segments.map((segment) =>
      segment.kind === "template" ? ({ kind: "param", name: "" } as const) : segment,
    );
    return { ...right, area: "soft", terms: free, operation: { ...operation, pattern: { ...pattern, segments } } };
  }
  const tokens = operation.pattern.tokens.map((token) =>
    token.kind === "template" ? ({ kind: "star" } as const) : token,
  );
  const pattern = { ...operation.pattern, tokens };
  return { ...right, area: "soft", terms: free, operation: { ...operation, pattern } };
}

function targetRights(target: TargetModel): readonly Right[] {
  const { name, place, proof, assertion, encodedSlash, onOutage } = target;
  const settings = [
    ...(proof === "off" ? [{ text: "without proof of possession", level: 1 }] : []),
    ...(assertion === "off" ? [{ text: "without an assertion", level: 1 }] : []),
    ...(encodedSlash === "segment" ? [{ text: "with %2F in a path", level: 1 }] : []),
    ...(onOutage.keepSeconds > 0 ? [{ text: "while the broker is away", level: onOutage.keepSeconds }] : []),
  ];
  return unitsOf(target).flatMap((unit) => {
    const right = (area: Area, operation: OperationModel, level = 0): Right => ({
      area,
      unit,
      target: name,
      operation,
      terms: { ...free, level },
      agents: [],
    });
    return [
      ...(target.mode === "observe" ? [right("open", anything(target))] : []),
      ...target.observe.map((route) => right("open", routed(route))),
      ...target.unidentified.map((route) => right("unidentified", routed(route))),
      ...settings.map(({ text, level }) => right("setting", verb(text, place), level)),
    ];
  });
}

function eventRights(event: EventModel): readonly Right[] {
  const { name, on, start, variables, limit, depth, place } = event;
  const what = JSON.stringify([on.target, on.stream, on.subject, sorted(start), variables]);
  const terms: Terms = {
    when: conjunctsOf(event.when, ""),
    until: "job",
    limit: { ...limit, per: "event", scope: "global" },
    level: depth,
  };
  return alternatives(event.for).map((who) => ({
    area: "start",
    who,
    unit: `event ${name} ${what}`,
    target: on.target,
    operation: verb(`start ${Object.values(start).join(" ")} by event ${name}`, place),
    terms,
    agents: [],
    source: { id: name, place },
  }));
}

/** Every request; other kinds than those with routes have no patterns for it. */
function anything({ kind, place }: TargetModel): OperationModel {
  if (kind !== "http" && kind !== "mesh") return verb("anything", place);
  const pattern = { method: "*", segments: [{ kind: "any" } as const], stream: true, source: "* /**" };
  return { kind: "http", pattern, place };
}

function enforcedRoutes(target: TargetModel): readonly Bar[] {
  return unitsOf(target).flatMap((unit) =>
    (target.enforce ?? []).map(
      (route): Bar => ({
        against: "open",
        unit,
        operation: routed(route),
        when: [],
        id: route.pattern.source,
        place: route.place,
      }),
    ),
  );
}

const sorted = (value: object): readonly unknown[] => Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));

function routed({ pattern, place }: RouteModel): OperationModel {
  return { kind: "http", pattern: { ...pattern, stream: true }, place };
}

function barsOf(deny: DenyModel, units: Units): readonly Bar[] {
  const { id, place, operations, targets } = deny;
  const targeted = [...new Set([...targets, ...Object.keys(operations)])];
  return alternatives(deny.for).flatMap((who) => {
    const bar = (target: string, parts: Partial<Bar>): Bar => ({
      against: "roles",
      who,
      when: conjunctsOf(deny.when, target),
      id,
      place,
      ...parts,
    });
    if (targeted.length === 0) return [bar("", {})];
    return targeted.flatMap((target) =>
      (units.get(target) ?? []).flatMap((unit) =>
        Object.hasOwn(operations, target)
          ? (operations[target] ?? []).map((operation) => bar(target, { unit, operation }))
          : [bar(target, { unit })],
      ),
    );
  });
}

/** Top-level `&&` parts in one spelling, sorted. One that asks the target's name means another thing at another target. */
function conjunctsOf(condition: ConditionModel | undefined, target: string): readonly string[] {
  if (condition === undefined) return [];
  const parts = compileCondition(condition).conjuncts.map(({ source, reads }) =>
    reads.includes("request.target") ? `${source} at ${target}` : source,
  );
  return [...new Set(parts)].toSorted();
}

const mostAlternatives = 64;

/** Selectors of one value a field where they are few: lists are compared value by value. */
function alternatives(selectors: readonly SelectorModel[]): readonly SelectorModel[] {
  return selectors.flatMap((selector) => {
    const size = selector.clauses.reduce((product, { values }) => product * values.length, 1);
    if (size === 1 || size > mostAlternatives) return [selector];
    let partial: readonly SelectorModel["clauses"][] = [[]];
    for (const clause of selector.clauses) {
      partial = partial.flatMap((clauses) =>
        clause.values.map((value) => [...clauses, { ...clause, values: [value] }]),
      );
    }
    return partial.map((clauses) => ({ ...selector, clauses }));
  });
}

/** The same text for selectors that mean the same, whatever they are called and in which order they are written. */
export function selectorKey({ issuer, kind, fork, causedBy, clauses }: SelectorModel): string {
  const written = clauses.map(({ field, values }) => [field, values.map(valueText).toSorted()] as const);
  const parts = [issuer ?? null, kind ?? null, fork, causedBy?.toSorted() ?? null];
  return JSON.stringify([...parts, written.toSorted(([a], [b]) => (a < b ? -1 : 1))]);
}

export function valueText(value: SelectorModel["clauses"][number]["values"][number]): string {
  if (typeof value === "boolean") return String(value);
  return value.kind === "exact" ? value.text : value.source;
}
