import { coversSegments, coversValue } from "./covers-pattern.ts";
import type { Issuers } from "./covers-selector.ts";
import type { Pins } from "./lock.ts";
import type {
  DenyModel,
  Diagnostic,
  EventModel,
  PathSegment,
  Place,
  PolicyModel,
  SelectorModel,
  StringPattern,
  TargetModel,
} from "./model.ts";
import { startedProject } from "./parse-event-start.ts";
import { matchesPattern, parseStringPattern } from "./parse-glob.ts";
import { splitOutside } from "./parse-template.ts";

/** What a source may speak of. `*` stands for one segment (of a host: one label), `**` for any number. */
export interface Bounds {
  /** `gitlab/acme/billing/**`: an issuer's name or type, then the path. */
  readonly projects: readonly string[];
  /** Names of the targets it may grant, and may declare where they are HTTP services on its hosts. */
  readonly targets: readonly string[];
  /** `*.billing.internal`; none: it declares no target. */
  readonly hosts: readonly string[];
}

/** Where a policy file comes from. Without bounds it may say anything. */
export interface Origin {
  readonly source: string;
  readonly bounds?: Bounds;
}

/**
 * What sources say beyond their bounds, each at its place; empty where all keep within them. A role or event must be for its
 * projects and on its targets; a deny for its projects or on its targets; a target's hosts its own. Nobody uses a selector
 * that another source can change.
 */
export function checkBounds(
  model: PolicyModel,
  origin: (file: string) => Origin,
  issuers: Issuers,
): readonly Diagnostic[] {
  const found: Diagnostic[] = [];
  const boundsOf = ({ file }: Place) => origin(file).bounds;
  for (const rule of [...model.roles, ...model.deny, ...model.events]) {
    found.push(...rule.for.flatMap((selector) => foreignSelector(selector, rule.place, origin)));
  }
  for (const target of model.targets) found.push(...within(boundsOf(target.place), (own) => ownTarget(target, own)));
  for (const role of model.roles) {
    const { place, spiffeId } = role;
    found.push(
      ...within(boundsOf(place), (own) => [
        ...role.for.flatMap((selector) => ownProjects(selector, place, own, issuers)),
        ...Object.entries(role.allow).flatMap(([target, [first]]) => ownName(target, first?.place ?? place, own)),
        ...(spiffeId === undefined
          ? []
          : [beyond(place, `a role here names no SPIFFE ID`, "name it in a source without bounds")]),
      ]),
    );
  }
  for (const deny of model.deny) found.push(...within(boundsOf(deny.place), (own) => ownDeny(deny, own, issuers)));
  for (const event of model.events)
    found.push(...within(boundsOf(event.place), (own) => ownEvent(event, own, issuers)));
  return found;
}

/** Pins of a lock file for paths that its source may not name. */
export function checkPinBounds(pins: Pins, lock: string, bounds: Bounds, issuers: Issuers): readonly Diagnostic[] {
  return Object.keys(pins).flatMap((key) => {
    const [issuer = "", ...path] = key.split("/");
    if (isOwnPath(issuer, literals(path.join("/")), bounds, issuers)) return [];
    const place: Place = { file: lock, line: 1, column: 1, length: 1 };
    return [beyond(place, `${key} is pinned here, which is not a project of this source`, projectsHelp(bounds))];
  });
}

const within = (bounds: Bounds | undefined, check: (bounds: Bounds) => readonly Diagnostic[]) =>
  bounds === undefined ? [] : check(bounds);

function beyond(place: Place, message: string, help: string): Diagnostic {
  return { severity: "error", code: "source_oversteps", place, message, help };
}

const projectsHelp = ({ projects }: Bounds) => `its projects: ${projects.join(", ") || "none"}`;
const targetsHelp = ({ targets }: Bounds) => `its targets: ${targets.join(", ") || "none"}`;

function foreignSelector({ name, place }: SelectorModel, at: Place, origin: (file: string) => Origin) {
  const [theirs, own] = [origin(place.file).source, origin(at.file).source];
  if (theirs === own) return [];
  const message = `"${name}" is of source ${theirs} (${place.file}:${place.line}), which could change whom this is for`;
  return [beyond(at, message, "write the selector in this source, under a name of its own")];
}

function ownTarget(target: TargetModel, bounds: Bounds): readonly Diagnostic[] {
  const { name, kind, hosts, place } = target;
  const named = ownName(name, place, bounds);
  if (named.length > 0) return named;
  if (kind !== "http") {
    return [beyond(place, `${name} is of kind ${kind}`, "declare it in a source without bounds, and grant it here")];
  }
  return hosts.flatMap((host) =>
    bounds.hosts.some((own) => coversSegments(labels(own), labels(host)))
      ? []
      : [beyond(place, `${host} is no host of this source`, `its hosts: ${bounds.hosts.join(", ") || "none"}`)],
  );
}

/** Labels as segments: a template fills one label. */
function labels(host: string): readonly PathSegment[] {
  return splitOutside(host, ".").map(({ text }): PathSegment => {
    if (text === "**") return { kind: "any" };
    if (text.includes("${")) return { kind: "template", template: { texts: [], names: [], source: text } };
    return text.includes("*") ? { kind: "glob", parts: text.split("*") } : { kind: "literal", text };
  });
}

function ownName(target: string, place: Place, bounds: Bounds): readonly Diagnostic[] {
  const owned = bounds.targets.some((own) => {
    const pattern = parseStringPattern(own);
    return pattern.ok && matchesPattern(pattern.value, target);
  });
  return owned ? [] : [beyond(place, `${target} is no target of this source`, targetsHelp(bounds))];
}

function ownProjects(selector: SelectorModel, place: Place, bounds: Bounds, issuers: Issuers): readonly Diagnostic[] {
  const { issuer } = selector;
  const named = namedPaths(selector);
  if (issuer === undefined || named.length === 0) {
    const help = `name a project or group, not an id alone; ${projectsHelp(bounds)}`;
    return [beyond(place, "nothing says that this is for a project of this source", help)];
  }
  // Any one clause that keeps within the bounds keeps the whole selector there.
  if (named.some((paths) => paths.every((path) => isOwnPath(issuer, path, bounds, issuers)))) return [];
  const [first] = named.flat();
  const text = first === undefined ? "" : first.kind === "exact" ? first.text : first.source;
  return [beyond(place, `${issuer}/${text} is no project of this source`, projectsHelp(bounds))];
}

const anything: StringPattern = { kind: "glob", segments: [{ kind: "any" }], source: "**" };

/** Each list of paths that the job's own project is among: its project, a group above it, its pipeline. */
function namedPaths({ clauses }: SelectorModel): readonly (readonly StringPattern[])[] {
  const patterns = (field: string) =>
    clauses.find((clause) => clause.field === field)?.values.filter((value) => typeof value !== "boolean") ?? [];
  const below = (text: string, more: string) => {
    const pattern = parseStringPattern(`${text}/${more}`);
    // What cannot be told is anybody's.
    return pattern.ok ? pattern.value : anything;
  };
  const sourceOf = (pattern: StringPattern) => (pattern.kind === "exact" ? pattern.text : pattern.source);
  const pipelines = patterns("pipeline").map(sourceOf);
  const lists = [
    patterns("project"),
    patterns("group").map((group) => below(sourceOf(group), "**")),
    patterns("organization").flatMap((organization) =>
      (pipelines.length > 0 ? pipelines : ["*"]).map((pipeline) => below(sourceOf(organization), pipeline)),
    ),
  ];
  return lists.filter((list) => list.length > 0);
}

const literals = (text: string): StringPattern => ({ kind: "exact", text });

function isOwnPath(issuer: string, path: StringPattern, { projects }: Bounds, { types }: Issuers): boolean {
  return projects.some((own) => {
    const slash = own.indexOf("/");
    const whose = own.slice(0, slash);
    const pattern = parseStringPattern(own.slice(slash + 1));
    return (whose === issuer || types.get(issuer) === whose) && pattern.ok && coversValue(pattern.value, path);
  });
}

/** A deny takes only, but whom it takes from is to be its own: its targets from everybody, or anything from its projects. */
function ownDeny(deny: DenyModel, bounds: Bounds, issuers: Issuers): readonly Diagnostic[] {
  const { targets, place } = deny;
  if (targets.length > 0 && targets.every((target) => ownName(target, place, bounds).length === 0)) return [];
  if (deny.for.every((selector) => ownProjects(selector, place, bounds, issuers).length === 0)) return [];
  const message = `deny ${deny.id} is neither about targets of this source only nor for its projects only`;
  return [beyond(place, message, `${targetsHelp(bounds)}; ${projectsHelp(bounds)}`)];
}

function ownEvent(event: EventModel, bounds: Bounds, issuers: Issuers): readonly Diagnostic[] {
  const { place, on, start } = event;
  const project = startedProject(start);
  const started = isOwnPath(start.issuer, literals(project), bounds, issuers)
    ? []
    : [beyond(place, `${start.issuer}/${project} is no project of this source`, projectsHelp(bounds))];
  return [
    ...event.for.flatMap((selector) => ownProjects(selector, place, bounds, issuers)),
    ...ownName(on.target, place, bounds),
    ...started,
  ];
}
