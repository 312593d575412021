import type { AccessRequest, Counts, Decision } from "../core/decision.ts";
import type { JobIdentity, Vocabulary } from "../core/identity.ts";
import { parsePath } from "../core/path.ts";
import { compileEvent, type ReadyEvent } from "./compile-event.ts";
import { type CompiledRules, compare, compileRules, type RoutedTarget } from "./compiled-rules.ts";
import { decide, modeOf, refusal, targetReach } from "./decide.ts";
import { findReach } from "./find-reach.ts";
import { matchHttp } from "./match-path.ts";
import type { Mode, OperationModel, PolicyModel, TargetModel } from "./model.ts";
import { natsAccount } from "./nats-account.ts";
import { natsRights, natsRightsNow, noNatsRights } from "./nats-rights.ts";
import type { CompiledNats, CompiledTarget, DenyReason, NatsRights, NatsRightsNow, Policy } from "./policy.ts";
import type { Reach } from "./reach.ts";
import { roleStandings } from "./role-standing.ts";
import { hostsOf, touches } from "./target-reach.ts";

/**
 * A checked policy, ready to decide. `vocabulary` says how list claims compare (every value, or any).
 *
 * What a job can reach is found once per identity object and kept as long as that object lives, so an identity must not be
 * changed after it was first used; what follows from facts is kept only while the same values are given.
 */
export function compile(model: PolicyModel, vocabulary: Vocabulary): Policy {
  const rules = compileRules(model, vocabulary);
  const reaches = new WeakMap<JobIdentity, Reach>();
  const reachOf = (identity: JobIdentity): Reach => {
    const known = reaches.get(identity);
    if (known !== undefined) return known;
    const fresh = findReach(rules, identity);
    reaches.set(identity, fresh);
    return fresh;
  };
  const events = model.events.map((event) => compileEvent(event, rules)).sort((a, b) => compare(a.name, b.name));
  const denyReasons = new Map(model.deny.map((deny): [string, DenyReason] => [deny.id, denyReason(deny)]));
  const targets = new Map(model.targets.map((target) => [target.name, describeTarget(target.name, model, rules)]));
  return {
    version: model.version,
    inForce: model.version,
    versionFor: () => model.version,
    targets,
    targetFor: (name) => targets.get(name),
    pins: model.pins,
    rolesFor: (identity) =>
      reachOf(identity)
        .roles.map(({ role }) => role.summary)
        .sort((a, b) => compare(a.id, b.id)),
    deniesFor: (identity, targets) => deniesOf(reachOf(identity), targets),
    standings: (identity, facts, now) => roleStandings(reachOf(identity), facts, now),
    factsFor: (identity) => factsOf(reachOf(identity), events),
    events,
    decide: (request, counts) => safely(rules, reachOf, request, counts),
    unidentified: (target, method, path) => unidentified(rules.targets.get(target), method, path),
    denyReason: (id) => denyReasons.get(id),
    natsAccount: (target, identity) => natsAccount(rules, target, identity),
    natsRights: (identity, target) => {
      const at = natsTarget(rules, target);
      return at === undefined ? noNatsRights : rightsOf(reachOf(identity), at);
    },
    natsRightsNow: (identity, target, facts, now) => {
      const at = natsTarget(rules, target);
      return at === undefined ? noRightsNow : natsRightsNow(reachOf(identity), at, facts, now);
    },
    hostsFor: (target, identity) => hostsOf(rules.targets.get(target)?.model.hosts ?? [], identity),
  };
}

const noRightsNow: NatsRightsNow = Object.freeze({
  ...noNatsRights,
  deny: { pub: [], sub: [], pull: [] },
  withheld: [],
});

function natsTarget(rules: CompiledRules, name: string): RoutedTarget | undefined {
  const target = rules.targets.get(name);
  return target?.model.kind === "nats" ? target : undefined;
}

/** Found once for each job. */
function rightsOf(reach: Reach, target: RoutedTarget): NatsRights {
  const at = targetReach(reach, target);
  at.rights ??= natsRights(reach, target);
  return at.rights;
}

/** Whatever goes wrong inside is a denial, and never an exception that a caller could take for something else. */
function safely(
  rules: CompiledRules,
  reachOf: (identity: JobIdentity) => Reach,
  request: AccessRequest,
  counts: Counts,
): Decision {
  try {
    return decide(rules, reachOf(request.session.identity), request, counts);
  } catch {
    return refusal(rules.version, "outage", "enforce", false);
  }
}

function deniesOf({ denies, roles }: Reach, targets: readonly string[]): readonly string[] {
  const agents = roles.filter(({ kind }) => kind === "agent");
  return denies
    .filter(({ deny: { model } }) => targets.some((target) => touches(model, target)))
    .flatMap(({ deny: { model }, agentsOnly }) =>
      agentsOnly ? agents.map(({ role }) => `${model.id}/${role.model.id}`) : [model.id],
    )
    .sort(compare);
}

function denyReason({ because, place }: PolicyModel["deny"][number]): DenyReason {
  return { because, file: place.file, line: place.line };
}

function factsOf(reach: Reach, events: readonly ReadyEvent[]): readonly string[] {
  const rules = [...reach.roles.map(({ role }) => role), ...reach.denies.map(({ deny }) => deny)];
  const ofRules = rules.flatMap(({ condition }) => condition?.facts ?? []);
  return [...new Set([...ofRules, ...events.flatMap((event) => event.factsFor(reach.identity))])].sort();
}

function unidentified(
  target: RoutedTarget | undefined,
  method: string,
  path: string,
): { readonly pass: boolean; readonly mode: Mode } {
  if (target === undefined) return { pass: false, mode: "enforce" };
  const parsed = parsePath(path, target.model.encodedSlash);
  const mode = modeOf(target, { kind: "http", method, host: "", path, stream: false }, parsed);
  if (target.shared === undefined || !parsed.ok) return { pass: false, mode };
  return { pass: matchHttp(target.shared, method, parsed).length > 0, mode };
}

function describeNats({ settings }: TargetModel): CompiledNats {
  return {
    account: String(settings.account),
    records: settings.records === "fast" ? "fast" : "durable",
    deliveries: settings.deliveries === "full" ? "full" : "counted",
  };
}

function describeTarget(name: string, policy: PolicyModel, rules: CompiledRules): CompiledTarget {
  const routed = rules.targets.get(name);
  if (routed === undefined) throw new TypeError(`no target ${name}`);
  const { model } = routed;
  const streams = (operation: OperationModel) => operation.kind === "http" && operation.pattern.stream;
  return {
    name,
    kind: model.kind,
    mode: model.mode,
    hosts: model.hosts,
    ...(typeof model.settings.spiffe_id === "string" ? { spiffeId: model.settings.spiffe_id } : {}),
    assertion: model.assertion,
    proof: model.proof,
    encodedSlash: model.encodedSlash,
    onOutage: model.onOutage,
    sharesRoutes: model.unidentified.length > 0,
    ...(typeof model.settings.address === "string" ? { address: model.settings.address } : {}),
    ...(model.kind === "nats" ? { nats: describeNats(model) } : {}),
    streams: policy.roles.some((role) => Object.hasOwn(role.allow, name) && (role.allow[name] ?? []).some(streams)),
  };
}
