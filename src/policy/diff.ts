import { coversOperation, deniesOperation, mayDenyOperation } from "./covers-operation.ts";
import { coversAudience, coversDenied, deniesAudience, type Issuers, mayDenyAudience } from "./covers-selector.ts";
import type { OperationModel, PolicyModel } from "./model.ts";
import { type Area, type Bar, type Right, type Rights, rightsOf, selectorKey, type Terms } from "./rights.ts";

/** One right that one of two policies gives and the other does not. */
export interface Change {
  /** `new`: nothing like it was there. `wider`: it was there on narrower terms. `undenied`: a deny is gone that was about it. */
  readonly how: "new" | "wider" | "undenied";
  readonly right: Right;
  /** Of `wider`: the terms on which it was there. */
  readonly was?: Terms;
  /** Of `undenied`: the denies. */
  readonly denies: readonly Pick<Bar, "id" | "place">[];
}

/** A path that the lock file ties to another id than before, or no more. */
export interface PinChange {
  readonly path: string;
  readonly from: string;
  readonly to?: string;
}

export interface PolicyDiff {
  readonly gains: readonly Change[];
  readonly losses: readonly Change[];
  /** Pins that let another project in than before. */
  readonly unpinned: readonly PinChange[];
  readonly pinned: readonly PinChange[];
}

/**
 * Who gains and who loses what from one policy to the other, by meaning: what is called or ordered otherwise is no change,
 * nor what another rule gives already. Sound, not complete: every job that may do something new is among the gains; a gain
 * may be listed that two old rules together gave already, or that two denies together forbid. Conditions are compared by their
 * `&&` parts, not by what they compute.
 */
export function diffPolicies(before: PolicyModel, after: PolicyModel, issuers: Issuers): PolicyDiff {
  const [old, fresh] = [rightsOf(before), rightsOf(after)];
  return {
    gains: gained(old, fresh, issuers),
    losses: gained(fresh, old, issuers),
    unpinned: loosened(before.pins, after.pins),
    pinned: loosened(after.pins, before.pins),
  };
}

function loosened(before: PolicyModel["pins"], after: PolicyModel["pins"]): readonly PinChange[] {
  return Object.keys(before)
    .filter((path) => before[path] !== after[path])
    .toSorted()
    .map((path) => ({ path, from: before[path] as string, ...(after[path] === undefined ? {} : { to: after[path] }) }));
}

/** What the second gives and the first does not. */
function gained(old: Rights, fresh: Rights, issuers: Issuers): readonly Change[] {
  const known = byUnit(old.rights);
  const keys = new Set(old.rights.map(rightKey));
  const lifted = old.bars.filter((bar) => !fresh.bars.some((other) => coversBar(other, bar, issuers)));
  const seen = new Map<string, Change>();
  for (const right of fresh.rights) {
    if (right.area === "setting" && !old.units.has(right.unit)) continue; // whoever reaches it at all gains it
    const key = rightKey(right);
    if (seen.has(key) || isBarred(right, fresh, issuers)) continue;
    const change = changeOf(right, key, keys, known.get(`${right.area} ${right.unit}`) ?? [], issuers);
    const found = change ?? undenied(right, lifted, issuers);
    if (found !== undefined) seen.set(key, found);
  }
  return [...seen].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, change]) => change);
}

function byUnit(rights: readonly Right[]): ReadonlyMap<string, readonly Right[]> {
  return Map.groupBy(rights, ({ area, unit }) => `${area} ${unit}`);
}

/** Not the role's id: who gives a right is no part of it. */
function rightKey({ area, unit, who, operation, terms, agents }: Right): string {
  const { when, ttlSeconds = null, until, limit = null, level } = terms;
  const whose = who === undefined ? "" : selectorKey(who);
  return JSON.stringify([area, unit, whose, operationKey(operation), when, ttlSeconds, until, limit, level, agents]);
}

function operationKey(operation: OperationModel): string {
  if (operation.kind === "verb") return operation.verb;
  if (operation.kind === "nats") return operation.pattern.source;
  return `${operation.pattern.source}${operation.pattern.stream ? " stream" : ""}`;
}

function changeOf(
  right: Right,
  key: string,
  keys: ReadonlySet<string>,
  known: readonly Right[],
  issuers: Issuers,
): Change | undefined {
  if (keys.has(key)) return undefined;
  const like = known.filter((other) => coversWhoAndWhat(other, right, issuers));
  if (like.some((other) => coversTerms(other.terms, right.terms))) return undefined;
  const was = like[0]?.terms;
  return was === undefined ? { how: "new", right, denies: [] } : { how: "wider", right, was, denies: [] };
}

function coversWhoAndWhat(wide: Right, narrow: Right, issuers: Issuers): boolean {
  if (wide.who !== undefined) {
    if (narrow.who === undefined || !coversAudience(wide.who, narrow.who, issuers)) return false;
    // Whoever a role makes an agent is denied more.
    if (!wide.agents.every((agent) => narrow.agents.includes(agent))) return false;
  }
  return coversOperation(wide.operation, narrow.operation);
}

function coversTerms(wide: Terms, narrow: Terms): boolean {
  if (!wide.when.every((part) => narrow.when.includes(part)) || wide.level < narrow.level) return false;
  if ((wide.ttlSeconds ?? Number.POSITIVE_INFINITY) < (narrow.ttlSeconds ?? Number.POSITIVE_INFINITY)) return false;
  if (wide.until === "job" && narrow.until === "pipeline") return false;
  const [limit, other] = [wide.limit, narrow.limit];
  if (limit === undefined) return true;
  if (other === undefined || limit.per !== other.per || limit.scope !== other.scope) return false;
  return limit.max >= other.max && limit.windowMs <= other.windowMs;
}

/** Whether something in the same policy forbids the whole of a right. */
function isBarred(right: Right, { bars }: Rights, issuers: Issuers): boolean {
  return bars.some(
    (bar) =>
      bearsOn(bar, right) &&
      (bar.operation === undefined || forbids(bar, bar.operation, right.operation)) &&
      bar.when.every((part) => right.terms.when.includes(part)) &&
      (bar.who === undefined || (right.who !== undefined && deniesAudience(bar.who, right.who, issuers))),
  );
}

/** A deny is about both spellings of a path, with its last slash and without; a route is about its own. */
function forbids(bar: Bar, barred: OperationModel, operation: OperationModel): boolean {
  return bar.against === "open" ? coversOperation(barred, operation) : deniesOperation(barred, operation);
}

const barredAs: Readonly<Record<Area, Bar["against"] | undefined>> = {
  allow: "roles",
  soft: "roles",
  open: "open",
  unidentified: undefined,
  identity: undefined,
  start: undefined,
  setting: undefined,
};

const bearsOn = (bar: Bar, { area, unit }: Right): boolean =>
  bar.against === barredAs[area] && (bar.unit === undefined || bar.unit === unit);

function undenied(right: Right, lifted: readonly Bar[], issuers: Issuers): Change | undefined {
  const agents = right.agents.length > 0;
  const denies = lifted.filter(
    (bar) =>
      bearsOn(bar, right) &&
      (bar.operation === undefined || mayDenyOperation(bar.operation, right.operation)) &&
      (bar.who === undefined || right.who === undefined || mayDenyAudience(bar.who, right.who, agents, issuers)),
  );
  if (denies.length === 0) return undefined;
  const distinct = new Map(denies.map(({ id, place }) => [id, { id, place }]));
  return { how: "undenied", right, denies: [...distinct.values()] };
}

function coversBar(wide: Bar, narrow: Bar, issuers: Issuers): boolean {
  if (wide.against !== narrow.against || (wide.unit !== undefined && wide.unit !== narrow.unit)) return false;
  if (!wide.when.every((part) => narrow.when.includes(part))) return false;
  if (wide.operation !== undefined) {
    if (narrow.operation === undefined || !forbids(wide, wide.operation, narrow.operation)) return false;
  }
  return wide.who === undefined || (narrow.who !== undefined && coversDenied(wide.who, narrow.who, issuers));
}
