import { dataSchemas } from "../audit/record-schema.ts";
import type { Config, EnvoyGatewayConfig, GatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import { sessionIdPattern } from "../core/ids.ts";
import type { AuditRecord, RecordKind } from "../core/record.ts";
import type { SessionState } from "../core/session.ts";
import { subjectOf } from "../credential/access-token.ts";
import { NatsTrafficSums } from "../gateway/nats/story-traffic.ts";
import type { JobLogReading, NatsTraffic, StoryFacts, StoryGateway } from "../gateway/story-facts.ts";
import { openedNeedle } from "../gateway/story-facts.ts";
import type { SessionTable } from "../session/table.ts";
import type { RecordFilter } from "../store/ports.ts";

export interface StoryDeps {
  readonly config: Pick<Config, "gateways" | "trustDomain" | "spiffe">;
  readonly clock: Pick<Clock, "now">;
  readonly table: Pick<SessionTable, "find" | "all">;
  readonly records: {
    query(filter: RecordFilter): Promise<readonly AuditRecord[]>;
    get(id: string): Promise<AuditRecord | undefined>;
  };
  /** When a line of the gateway's log was taken last, ms since the epoch. */
  heardAt(gateway: string): number | undefined;
  /** When the gateway asked or followed last, ms since the epoch. */
  aliveAt(gateway: string): number | undefined;
  jobLog(identity: JobIdentity, text: string): Promise<JobLogReading>;
}

/** What a story of one session may hold, and how many records are looked through for what belongs to it. */
const maxSessionRecords = 5_000;
const maxScanned = 20_000;
/** Records of messages that are added up; a bulk of them is one record. */
const maxTraffic = 50_000;
const pageSize = 1_000;
/** Decisions of others that a session's lines name; a gateway that names more is not looked up further. */
const maxNamed = 200;
/** Agents may be this late with a gateway's log. */
const lateMs = 24 * 3_600_000;

/** Around any of these two hops may go by different policies. */
const policyKinds: readonly string[] = [
  "policy.loaded",
  "policy.canary",
  "policy.promoted",
  "policy.rolled_back",
] satisfies readonly RecordKind[];

/** Records of messages hold thousands of them each: they are added up instead. */
const trafficKinds: readonly string[] = ["nats.published", "nats.delivered"] satisfies readonly RecordKind[];
const toldKinds = Object.keys(dataSchemas).filter((kind) => !trafficKinds.includes(kind));

/**
 * What is known of a session, for its story: named by its id, by its job's id, or by the trace of one of its requests.
 * Throws `session_not_found`.
 */
export async function storyFacts(deps: StoryDeps, name: string): Promise<StoryFacts> {
  const id = await sessionNamed(deps, name);
  const own = await all(deps, { session: id, kinds: toldKinds }, maxSessionRecords);
  const opened = own.find((record) => record.kind === "session.opened");
  if (opened === undefined) throw notFound(name);
  const { identity } = opened.data;
  const openedAt = Date.parse(opened.time);
  const session = { ...lifeOf(deps, id, own), id, openedAt };
  const until = (session.endedAt ?? deps.clock.now()) + lateMs;
  const [others, policies, gateways, jobLog, nats] = await Promise.all([
    relatedRecords(deps, id, own, openedAt, until),
    all(deps, { kinds: policyKinds, sinceMs: openedAt - 5 * 60_000, untilMs: until }, 100),
    Promise.all(deps.config.gateways.map((gateway) => storyGateway(deps, gateway))),
    deps.jobLog(identity, openedNeedle(id)),
    natsTraffic(deps, id),
  ]);
  return {
    session: {
      ...session,
      subject: subjectOf(deps.config.trustDomain, identity),
      issuer: identity.issuer,
      project: identity.project.path,
      jobId: identity.job.id,
      ...(identity.job.name === undefined ? {} : { jobName: identity.job.name }),
      ...(identity.ref === undefined ? {} : { ref: identity.ref }),
    },
    trustDomain: deps.config.trustDomain,
    gateways,
    records: [...own, ...others].toSorted((a, b) => a.seq - b.seq),
    policies: policies.flatMap((record) =>
      "policy" in record.data ? [{ version: record.data.policy, at: Date.parse(record.time) }] : [],
    ),
    jobLog,
    ...(nats.length === 0 ? {} : { nats }),
    cut: own.length >= maxSessionRecords,
    now: deps.clock.now(),
  };
}

async function sessionNamed(deps: StoryDeps, name: string): Promise<string> {
  if (sessionIdPattern.test(name)) return name;
  if (/^[0-9a-f]{32}$/.test(name)) return (await sessionOfTrace(deps, name)) ?? notFoundFor(name);
  const live = [...deps.table.all()].findLast(({ identity }) => identity.job.id === name);
  if (live !== undefined) return live.id;
  const [found] = await deps.records.query({ job: name, kind: "session.opened", limit: 1 });
  return found?.session ?? notFoundFor(name);
}

async function sessionOfTrace(deps: StoryDeps, trace: string): Promise<string | undefined> {
  for (const kind of ["decision", "gateway.request"]) {
    for await (const page of pages(deps, { kind }, maxScanned)) {
      const found = page.find((record) => record.trace === trace && record.session !== undefined);
      if (found !== undefined) return found.session;
    }
  }
  return undefined;
}

/** From the table while it is known there, else from the records. */
function lifeOf(deps: StoryDeps, id: string, own: readonly AuditRecord[]) {
  const view = deps.table.find(id)?.view;
  const ended = own.find((record) => record.kind === "session.ended");
  const state: SessionState = view?.state ?? (ended === undefined ? "active" : "ended");
  const endedAt = ended === undefined ? view?.endedAt : Date.parse(ended.time);
  const endReason = ended?.data.reason ?? view?.endReason;
  return {
    state,
    ...(endedAt === undefined ? {} : { endedAt }),
    ...(endReason === undefined ? {} : { endReason }),
  };
}

/** Lines of gateways that lost the session but name a decision or trace of it, and the decisions that its lines name. */
async function relatedRecords(
  deps: StoryDeps,
  session: string,
  own: readonly AuditRecord[],
  sinceMs: number,
  untilMs: number,
): Promise<readonly AuditRecord[]> {
  const decisions = new Set(own.flatMap((record) => (record.kind === "decision" ? [record.id] : [])));
  const traces = new Set(own.flatMap(({ trace }) => trace ?? []));
  const belongs = (record: AuditRecord): boolean => {
    if (record.kind !== "gateway.request" || record.session === session) return false;
    if (decisions.has(record.data.decision_record ?? "")) return true;
    return record.session === undefined && traces.has(record.trace ?? "");
  };
  const lost: AuditRecord[] = [];
  for await (const page of pages(deps, { kind: "gateway.request", sinceMs, untilMs }, maxScanned)) {
    lost.push(...page.filter(belongs));
  }
  const named = new Set([...own, ...lost].flatMap(namedDecision).filter((id) => !decisions.has(id)));
  const found = await Promise.all([...named].slice(0, maxNamed).map((id) => deps.records.get(id)));
  return [...lost, ...found.filter((record) => record !== undefined)];
}

async function natsTraffic(deps: StoryDeps, session: string): Promise<readonly NatsTraffic[]> {
  const sums = new NatsTrafficSums();
  let seen = 0;
  const filter = { session, kinds: trafficKinds, brief: true, order: "oldest_first" } as const;
  for await (const page of pages(deps, filter, maxTraffic)) {
    for (const record of page) sums.add(record);
    seen += page.length;
  }
  const whole = await Promise.all(sums.wanted().map((id) => deps.records.get(id)));
  return sums.sums(
    whole.filter((record) => record !== undefined),
    seen >= maxTraffic,
  );
}

function namedDecision(record: AuditRecord): readonly string[] {
  return record.kind === "gateway.request" ? [record.data.decision_record ?? []].flat() : [];
}

/** Oldest first. */
async function all(deps: StoryDeps, filter: Omit<RecordFilter, "limit">, max: number): Promise<readonly AuditRecord[]> {
  const found: AuditRecord[] = [];
  for await (const page of pages(deps, filter, max)) found.push(...page);
  return found.reverse();
}

/** In the filter's order, until there are no more or enough. */
async function* pages(deps: StoryDeps, filter: Omit<RecordFilter, "limit">, max: number) {
  let last: { readonly after?: string; readonly before?: string } = {};
  for (let seen = 0; seen < max; ) {
    const page = await deps.records.query({ ...filter, ...last, limit: Math.min(pageSize, max - seen) });
    const end = page.at(-1);
    if (end === undefined) return;
    yield page;
    seen += page.length;
    last = filter.order === "oldest_first" ? { after: end.id } : { before: end.id };
  }
}

async function storyGateway(deps: StoryDeps, gateway: GatewayConfig): Promise<StoryGateway> {
  const heardAt = deps.heardAt(gateway.name) ?? (await lastLine(deps, gateway.name));
  const aliveAt = deps.aliveAt(gateway.name);
  const { name, kind, targets } = gateway;
  return {
    name,
    kind,
    targets,
    behind: gateway.kind === "envoy" ? gateway.behind : [],
    asks: asksAlways(gateway) || asksByMode(gateway),
    ships: shipsBy(gateway),
    boundMs: boundOf(deps, gateway),
    ...(heardAt === undefined ? {} : { heardAt }),
    ...(aliveAt === undefined ? {} : { aliveAt }),
  };
}

type AlwaysAsking = Extract<GatewayConfig, { readonly kind: "nginx" | "nats" | "proxy" }>;

const asksAlways = (gateway: GatewayConfig): gateway is AlwaysAsking =>
  gateway.kind === "nginx" || gateway.kind === "nats" || gateway.kind === "proxy";

function asksByMode(gateway: Exclude<GatewayConfig, AlwaysAsking>): boolean {
  return gateway.kind !== "linkerd" && gateway.mode === "call_out";
}

async function lastLine(deps: StoryDeps, gateway: string): Promise<number | undefined> {
  const [last] = await deps.records.query({ kind: "gateway.request", gateway, limit: 1 });
  return last === undefined ? undefined : Date.parse(last.time);
}

function shipsBy(gateway: GatewayConfig): StoryGateway["ships"] {
  if (gateway.kind === "nginx") return "follow";
  if (gateway.kind === "envoy") return gateway.grpc === undefined ? "follow" : "grpc";
  return "none";
}

/** Envoy's connection to the discovery service, or its poll, once a second. */
const refusalsMs: Readonly<Record<EnvoyGatewayConfig["revocation"], number>> = {
  grpc: 1_000,
  rest: 2_000,
  file: 3_000,
};
/** Sockets are closed in milliseconds; within this even by a gateway that is a process of its own. */
const natsMs = 1_000;
/** Open streams too. */
const proxyMs = 100;
/** Longest life of a token that a mesh checks by itself, design §6. */
const meshTokenMs = 120_000;

/** How late an enforcement point may refuse an ended session. */
function boundOf(deps: StoryDeps, gateway: GatewayConfig): number {
  switch (gateway.kind) {
    case "nginx":
      return gateway.cacheMs;
    case "envoy":
      return gateway.mode === "call_out" ? 0 : refusalsMs[gateway.revocation];
    case "istio":
      return gateway.mode === "call_out" ? 0 : meshTokenMs;
    case "linkerd":
      return deps.config.spiffe.svidTtlMs;
    case "nats":
      return natsMs;
    case "proxy":
      return proxyMs;
  }
}

function notFound(name: string): WayleaveError {
  return new WayleaveError(
    "session_not_found",
    `No session, job or trace ${name.slice(0, 60)} here; see \`wayleave session list\`.`,
  );
}

function notFoundFor(name: string): never {
  throw notFound(name);
}
