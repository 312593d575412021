import type { JobIdentity } from "../core/identity.ts";
import type { RoutedTarget } from "./compiled-rules.ts";
import { fillHost, fillTemplate } from "./fill-template.ts";
import { deniedAs, fillNats } from "./match-nats.ts";
import { addPattern, type FilledSegment, httpEnd, type SegmentTrie, segmentTrie } from "./match-path.ts";
import type { DenyModel, HttpPattern, NatsPattern, OperationModel } from "./model.ts";
import { addSubject, natsTrie } from "./nats-trie.ts";
import type { HeldRole, NatsReach, Reach, RoleRule, Rule, RuleBase, TargetReach } from "./reach.ts";

interface Build {
  readonly identity: JobIdentity;
  readonly http: SegmentTrie<Rule>;
  readonly nats: NatsReach | undefined;
  readonly verbs: { readonly verb: string; readonly rule: Rule }[];
}

const none: readonly never[] = Object.freeze([]);
/** One empty list for all jobs. */
const orNone = <I>(list: readonly I[]): readonly I[] => (list.length > 0 ? list : none);

export function buildTargetReach(target: RoutedTarget, reach: Reach): TargetReach {
  const { identity } = reach;
  const { name, kind } = target.model;
  const build: Build = { identity, http: segmentTrie(), nats: kind === "nats" ? natsReach() : undefined, verbs: [] };
  const naming = reach.roles.filter((held) => operationsOf(held.role.model.allow, name).length > 0);
  for (const held of naming) {
    const { allow } = held.role.model;
    for (const operation of operationsOf(allow, name)) {
      addRule(build, operation, (base) => roleRule(held, base));
    }
  }
  for (const near of reach.near) {
    for (const operation of operationsOf(near.role.model.allow, name)) {
      addRule(build, operation, (base) => ({ kind: "near", near, ...base }));
    }
  }
  const denies = reach.denies.filter(({ deny }) => touches(deny.model, name));
  const closed = denies.filter(({ deny }) => !Object.hasOwn(deny.model.operations, name));
  for (const held of denies) {
    for (const operation of operationsOf(held.deny.model.operations, name)) {
      addRule(build, operation, (base) => ({ kind: "deny", held, ...base }));
    }
  }
  const free = naming.every(({ role }) => role.condition === undefined && role.model.limit === undefined);
  // What each decision reads comes first: it then lies together in memory.
  return {
    http: build.http,
    hosts: hostsOf(target.model.hosts, identity),
    closed: orNone(closed),
    unconditional: free && denies.every(({ deny }) => deny.condition === undefined),
    target,
    nats: build.nats,
    verbs: orNone(build.verbs),
    naming,
    noRole: { enforce: undefined, observe: undefined },
    rights: undefined,
  };
}

/** A deny that names no targets is about all of them. */
export function touches(deny: DenyModel, target: string): boolean {
  return deny.targets.length === 0 || deny.targets.includes(target) || Object.hasOwn(deny.operations, target);
}

export function operationsOf(
  operations: Readonly<Record<string, readonly OperationModel[]>>,
  target: string,
): readonly OperationModel[] {
  return Object.hasOwn(operations, target) ? (operations[target] ?? []) : [];
}

/** The hosts of a target with templates filled; those that cannot be are left out. */
export function hostsOf(hosts: readonly string[], identity: JobIdentity): readonly string[] {
  if (!hosts.some((host) => host.includes("${"))) return hosts; // one list for all jobs
  return hosts.flatMap((host) => fillHost(host, identity.variables) ?? []);
}

function roleRule(held: HeldRole, base: RuleBase): RoleRule {
  const { condition, model } = held.role;
  const simple = condition === undefined && model.limit === undefined && base.unfilled === undefined;
  const { method, slash, stream, unfilled } = base;
  return { kind: "role", method, slash, simple, enforced: undefined, observed: undefined, held, stream, unfilled };
}

const noPath = { method: "*", slash: "free", stream: false } as const;

function addRule(build: Build, operation: OperationModel, make: (base: RuleBase) => Rule): void {
  if (operation.kind === "http") addHttpRule(build, operation.pattern, make);
  else if (operation.kind === "nats") {
    if (build.nats !== undefined) addNatsRule(build.nats, operation.pattern, build.identity, make);
  } else {
    build.verbs.push({ verb: operation.verb, rule: make({ ...noPath, unfilled: undefined }) });
  }
}

const natsReach = (): NatsReach => ({
  roles: { pub: natsTrie(), req: natsTrie(), sub: natsTrie(), pull: natsTrie() },
  denies: { send: natsTrie(), sub: natsTrie(), pull: natsTrie() },
});

function addNatsRule(
  nats: NatsReach,
  pattern: NatsPattern,
  { variables }: JobIdentity,
  make: (base: RuleBase) => Rule,
): void {
  const { verb, tokens, queue, unfilled } = fillNats(pattern, variables);
  const rule = make({ ...noPath, unfilled });
  // A deny is not escaped by a queue group.
  if (rule.kind === "deny") addSubject(nats.denies[deniedAs[verb]], tokens, rule);
  else addSubject(nats.roles[verb], tokens, { queue, rule });
}

function addHttpRule(build: Build, pattern: HttpPattern, make: (base: RuleBase) => Rule): void {
  let unfilled: string | undefined;
  const segments = pattern.segments.map((segment): FilledSegment => {
    if (segment.kind !== "template") return segment;
    const text = fillTemplate(segment.template, build.identity.variables, "segment");
    if (text === undefined) unfilled ??= segment.template.source;
    return text === undefined ? { kind: "param", name: "" } : { kind: "literal", text };
  });
  const rule = make({ ...httpEnd(pattern), stream: pattern.stream, unfilled });
  addPattern(build.http, segments, rule.kind === "deny" ? { ...rule, ...httpEnd(pattern, true) } : rule);
}
