import type { AuditRecord } from "../core/record.ts";
import type { StoryFacts, StoryGateway } from "./story-facts.ts";

export type DecisionRecord = AuditRecord & { readonly kind: "decision" };
export type EntryRecord = AuditRecord & { readonly kind: "gateway.request" };

/** What is known of one request at one gateway: what we decided there, and what the gateway itself says. */
export interface Hop {
  readonly gateway: StoryGateway;
  readonly decision?: DecisionRecord;
  readonly entry?: EntryRecord;
  /** ms since the epoch. */
  readonly at: number;
  /** The entry names a decision that is not in the log. */
  readonly unknownDecision: boolean;
  /** Another entry already claimed the decision, and this one says it was no cached answer. */
  readonly reused: boolean;
  /** Hops further in that this one passed the request to. */
  readonly inner: Hop[];
}

/** Longest time between a gateway and the one behind it that a shared trace can bridge, ms. */
const hopMs = 60_000;

/**
 * The session's requests, each as its first hop with what came of it further in. An inner hop is found by the decision its
 * entry names (an assertion carries it), else by trace, operation and time: jobs use one trace for many requests.
 */
export function assembleHops(facts: StoryFacts): readonly Hop[] {
  const hops = joinedHops(facts).toSorted((a, b) => a.at - b.at);
  const outer: Hop[] = [];
  const inner: Hop[] = [];
  for (const hop of hops) (hop.gateway.behind.length === 0 ? outer : inner).push(hop);
  const alone = inner.filter((hop) => {
    const parent = parentOf(hop, hops);
    parent?.inner.push(hop);
    return parent === undefined;
  });
  for (const hop of hops) alone.push(...takeRefusedRepeats(hop));
  // What no session of ours claims and nothing leads to is somebody else's request under the same trace.
  const ours = [...outer, ...alone].filter((hop) => recordOf(hop)?.session !== undefined);
  return ours.toSorted((a, b) => a.at - b.at);
}

/** What was passed on reached one of them: another one that refused the same was asked by somebody else. */
function takeRefusedRepeats({ inner }: Hop): readonly Hop[] {
  const served = new Set(inner.filter((hop) => passedOn(hop) === true).map(({ gateway }) => gateway));
  const repeats = inner.filter((hop) => served.has(hop.gateway) && passedOn(hop) === false);
  for (const hop of repeats) inner.splice(inner.indexOf(hop), 1);
  return repeats;
}

const recordOf = (hop: Hop): AuditRecord | undefined => hop.decision ?? hop.entry;

/** Each decision with the entry that names it, entries alone, decisions alone. */
function joinedHops(facts: StoryFacts): readonly Hop[] {
  const gateways = new Map(facts.gateways.map((gateway) => [gateway.name, gateway]));
  const decisions = new Map<string, DecisionRecord>();
  for (const record of facts.records) if (record.kind === "decision") decisions.set(record.id, record);
  const claimed = new Set<string>();
  const entries = facts.records.flatMap((record) => {
    const gateway = record.kind === "gateway.request" ? gateways.get(record.data.gateway) : undefined;
    if (record.kind !== "gateway.request" || gateway === undefined) return [];
    const named = decisions.get(record.data.decision_record ?? "");
    return belongs(record, named, facts) ? [entryHop(gateway, record, named, claimed)] : [];
  });
  const alone = [...decisions.values()].flatMap((decision) => {
    const gateway = gateways.get(decision.data.gateway);
    if (gateway === undefined || claimed.has(decision.id) || decision.session !== facts.session.id) return [];
    return [{ gateway, decision, at: Date.parse(decision.time), unknownDecision: false, reused: false, inner: [] }];
  });
  return [...entries, ...alone];
}

/** The gateway repeated an earlier answer: the decision it names is that of another request. */
export const isRepeat = ({ data }: EntryRecord): boolean => data.enforced === "cached" || data.enforced === "kept";

function entryHop(
  gateway: StoryGateway,
  entry: EntryRecord,
  named: DecisionRecord | undefined,
  claimed: Set<string>,
): Hop {
  const decision = named?.data.gateway === gateway.name ? named : undefined;
  const consumes = decision !== undefined && !isRepeat(entry);
  const reused = consumes && claimed.has(decision.id);
  if (consumes) claimed.add(decision.id);
  return {
    gateway,
    ...(decision === undefined ? {} : { decision }),
    entry,
    at: entry.data.at,
    unknownDecision: entry.data.decision_record !== undefined && named === undefined,
    reused,
    inner: [],
  };
}

/** An entry of another session is ours only where it names a decision of ours: a trace id is anybody's to send. */
function belongs(entry: EntryRecord, named: DecisionRecord | undefined, facts: StoryFacts): boolean {
  const { id } = facts.session;
  return entry.session === id || named?.session === id || entry.session === undefined;
}

function parentOf(hop: Hop, hops: readonly Hop[]): Hop | undefined {
  const candidates = hops.filter((each) => each !== hop && hop.gateway.behind.includes(each.gateway.name));
  const named = hop.entry?.data.decision_record;
  const exact = candidates.find(({ decision }) => decision !== undefined && decision.id === named);
  if (exact !== undefined) return exact;
  const { trace } = recordOf(hop) ?? {};
  const near = candidates.filter(
    (each) => recordOf(each)?.trace === trace && trace !== undefined && Math.abs(each.at - hop.at) < hopMs,
  );
  return nearest(
    hop,
    near.filter((each) => each.inner.every((other) => other.gateway !== hop.gateway || failed(other))),
  );
}

/** After this the gateway in front may have tried again. */
export function failed({ entry }: Hop): boolean {
  return entry !== undefined && (entry.data.status === 0 || entry.data.status >= 500);
}

/** The one of the same operation, and of those the one closest in time. */
function nearest(hop: Hop, candidates: readonly Hop[]): Hop | undefined {
  const same = candidates.filter((each) => operationOf(each) === operationOf(hop));
  const [found] = (same.length > 0 ? same : candidates).toSorted(
    (a, b) => Math.abs(a.at - hop.at) - Math.abs(b.at - hop.at),
  );
  return found;
}

/** `POST /v1/releases`, as decisions have it. */
export function operationOf({ decision, entry }: Pick<Hop, "decision" | "entry">): string {
  return decision?.data.operation ?? (entry === undefined ? "" : entryOperation(entry));
}

export function entryOperation({ data }: EntryRecord): string {
  return `${data.method} ${data.path}`.slice(0, 512);
}

/** Whether the gateway let the request go on; undefined where nothing says. */
export function passedOn({ decision, entry }: Pick<Hop, "decision" | "entry">): boolean | undefined {
  if (decision !== undefined) return decision.data.outcome !== "deny";
  if (entry === undefined) return undefined;
  const said = entry.data.decision;
  // Without an answer an observed target is served all the same, and any other is not.
  if (said === "outage") return entry.data.upstream_status === undefined ? false : undefined;
  if (said !== undefined) return said !== "deny";
  return entry.data.upstream_status !== undefined || entry.data.status < 400;
}
