import type { Facts, FactValue } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { SessionView } from "../core/session.ts";
import type { TargetKind } from "../core/target.ts";
import { splitTemplate } from "./fill-template.ts";
import type {
  ConditionModel,
  DenyModel,
  HttpPattern,
  NatsPattern,
  OperationModel,
  PathSegment,
  Place,
  PolicyModel,
  RoleModel,
  RouteModel,
  SelectorModel,
  StringPattern,
  TargetModel,
} from "./model.ts";

/** Builds policies for tests from short text, without YAML and without any check: what is wrong here stays wrong. */

export const place = (line = 1): Place => ({ file: "policy.yaml", line, column: 1, length: 1 });

function segmentOf(text: string): PathSegment {
  if (text === "**") return { kind: "any" };
  if (text.includes("${")) return { kind: "template", template: splitTemplate(text) };
  if (text.startsWith(":")) return { kind: "param", name: text.slice(1) };
  return text.includes("*") ? { kind: "glob", parts: text.split("*") } : { kind: "literal", text };
}

export function httpPattern(source: string): HttpPattern {
  const stream = source.endsWith(" stream");
  const [method = "", path = ""] = source.split(" ");
  const inner = path.replace(/^\//, "").replace(/\/$/, "");
  const segments = inner === "" ? [] : inner.split(/\/(?![^{]*\})/).map(segmentOf);
  return { method, segments, stream, source: `${method} ${path}` };
}

export function natsPattern(source: string): NatsPattern {
  const [verb = "", subject = "", queue] = source.split(" ");
  const tokens = subject.split(/\.(?![^{]*\})/).map((text): NatsPattern["tokens"][number] => {
    if (text === "*") return { kind: "star" };
    if (text === ">") return { kind: "rest" };
    return text.includes("${") ? { kind: "template", template: splitTemplate(text) } : { kind: "literal", text };
  });
  return { verb: verb as NatsPattern["verb"], tokens, source, ...(queue === undefined ? {} : { queue }) };
}

/** `GET /a/**`, `GET /a stream`, `pub a.b`, `read`. */
function operation(source: string): OperationModel {
  if (/^(pub|sub|req|pull) /.test(source)) return { kind: "nats", pattern: natsPattern(source), place: place() };
  if (source.includes(" /")) return { kind: "http", pattern: httpPattern(source), place: place() };
  return { kind: "verb", verb: source, place: place() };
}

const operations = (byTarget: Readonly<Record<string, readonly string[]>>) =>
  Object.fromEntries(Object.entries(byTarget).map(([target, list]) => [target, list.map(operation)]));

const route = (source: string): RouteModel => ({ pattern: httpPattern(source), place: place() });

type TargetParts = Partial<Omit<TargetModel, "unidentified" | "observe" | "enforce">> & {
  readonly unidentified?: readonly string[];
  readonly observe?: readonly string[];
  readonly enforce?: readonly string[];
};

export function target(name: string, kind: TargetKind = "http", parts: TargetParts = {}): TargetModel {
  return {
    name,
    kind,
    place: place(),
    mode: "enforce",
    hosts: kind === "http" ? [`${name}.internal`] : [],
    assertion: "off",
    proof: "off",
    encodedSlash: "refuse",
    onOutage: { keepSeconds: 0 },
    settings: {},
    ...parts,
    unidentified: (parts.unidentified ?? []).map(route),
    observe: (parts.observe ?? []).map(route),
    enforce: (parts.enforce ?? []).map(route),
  };
}

type ClauseValue = string | boolean | readonly (string | boolean)[];

function patternOf(value: string | boolean): boolean | StringPattern {
  if (typeof value === "boolean") return value;
  if (!value.includes("*")) return { kind: "exact", text: value };
  return { kind: "glob", segments: value.split("/").map(segmentOf), source: value };
}

/** Clauses by field, and the parts that are no clause. */
export function selector(
  clauses: Readonly<Record<string, ClauseValue>>,
  parts: Partial<SelectorModel> & { readonly anyIssuer?: boolean } = {},
): SelectorModel {
  const { anyIssuer, ...rest } = parts;
  return {
    name: "selector",
    ...(anyIssuer ? {} : { issuer: "gitlab" }),
    clauses: Object.entries(clauses).map(([field, value]) => ({
      field,
      values: (typeof value === "object" ? value : [value]).map(patternOf),
      place: place(),
    })),
    fork: false,
    place: place(),
    ...rest,
  };
}

/** Of a selector's `name` and what a condition reads, nothing is derived: policy reads neither. */
export function condition(source: string): ConditionModel {
  return { source, place: place(), facts: [], readsRequest: false, readsNow: false };
}

type RoleParts = Partial<Omit<RoleModel, "when" | "allow">> & { readonly when?: string | undefined };

export function role(
  id: string,
  allow: Readonly<Record<string, readonly string[]>>,
  { when, ...parts }: RoleParts = {},
): RoleModel {
  return {
    id,
    name: id,
    for: [selector({ project: "acme/shop" })],
    until: "job",
    allow: operations(allow),
    place: place(),
    mode: "enforce",
    ...(when === undefined ? {} : { when: condition(when) }),
    ...parts,
  };
}

type DenyParts = Partial<Omit<DenyModel, "when" | "operations">> & {
  readonly when?: string | undefined;
  readonly operations?: Readonly<Record<string, readonly string[]>>;
};

/** About everybody and every target, where nothing else is said. */
export function deny(id: string, { when, operations: byTarget, ...parts }: DenyParts = {}): DenyModel {
  return {
    id,
    for: [selector({}, { anyIssuer: true, fork: true })],
    targets: Object.keys(byTarget ?? {}),
    because: "it is forbidden",
    place: place(),
    operations: operations(byTarget ?? {}),
    ...(when === undefined ? {} : { when: condition(when) }),
    ...parts,
  };
}

export function policyModel(parts: Partial<PolicyModel>): PolicyModel {
  return {
    targets: [target("billing")],
    roles: [],
    deny: [],
    events: [],
    tests: [],
    pins: {},
    version: "0123456789ab",
    ...parts,
  };
}

export function job(parts: Partial<JobIdentity> = {}): JobIdentity {
  return {
    issuer: "gitlab",
    issuerType: "gitlab",
    kind: "job",
    project: { id: "1042", path: "acme/shop" },
    pipelineId: "5101",
    job: { id: "7712", name: "release" },
    ref: "main",
    refType: "branch",
    sha: "0".repeat(40),
    environment: "production",
    fork: "no",
    attributes: { project: ["acme/shop"], project_id: ["1042"], group: ["acme"], ref: "main", source: "push" },
    variables: { "job.project_id": "1042", "environment.slug": "production" },
    ...parts,
  };
}

export const openedAt = 1_000_000;

export function session(identity: JobIdentity = job(), parts: Partial<SessionView> = {}): SessionView {
  return { id: "ses_0000000000000001", identity, state: "active", openedAt, hardEndAt: openedAt + 3_600_000, ...parts };
}

/** Facts read at `openedAt`, fresh for a minute. */
export function facts(values: Readonly<Record<string, FactValue>>): Facts {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, { value, observedAt: openedAt, staleAt: openedAt + 60_000 }]),
  );
}
