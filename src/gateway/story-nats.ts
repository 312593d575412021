import type { NatsCount } from "../core/nats-record.ts";
import { recordContradicts } from "../core/nats-totals.ts";
import type { AuditRecord } from "../core/record.ts";
import { clock } from "./story-checks.ts";
import type { NatsTraffic, StoryFacts } from "./story-facts.ts";
import { type Problem, problem } from "./story-problems.ts";

type Of<Kind extends AuditRecord["kind"]> = AuditRecord & { readonly kind: Kind };

/** One connection of the session, from its own records and from what those of its messages add up to. */
export interface NatsConnectionStory {
  readonly id: string;
  readonly gateway: string;
  readonly connected?: Of<"nats.connected">;
  readonly closed?: Of<"nats.disconnected">;
  readonly mismatch?: Of<"nats.mismatch">;
  /** Absent where no message has a record. */
  readonly traffic?: NatsTraffic;
  /** ms from the session's end to the connection's; absent where one of them is missing or it was closed before. */
  readonly closedAfterMs?: number;
  readonly problems: readonly Problem[];
}

/** Each connection of the session, in the order they were made, and what is wrong with it. */
export function natsConnections(facts: StoryFacts): readonly NatsConnectionStory[] {
  const connected = byConnection(facts, "nats.connected");
  const closed = byConnection(facts, "nats.disconnected");
  const mismatches = byConnection(facts, "nats.mismatch");
  const traffic = new Map(facts.nats?.map((each) => [each.connection, each]));
  const ids = new Set([...connected.keys(), ...closed.keys(), ...mismatches.keys(), ...traffic.keys()]);
  return [...ids].map((id) => {
    const parts = {
      ...given("connected", connected.get(id)),
      ...given("closed", closed.get(id)),
      ...given("mismatch", mismatches.get(id)),
      ...given("traffic", traffic.get(id)),
    };
    const gateway =
      (parts.connected ?? parts.closed ?? parts.mismatch)?.data.gateway ?? parts.traffic?.gateway ?? "nats";
    const story = { id, gateway, ...parts, ...given("closedAfterMs", closedAfter(facts, parts.closed)) };
    return { ...story, problems: connectionProblems(story, facts) };
  });
}

function given<Name extends string, T>(name: Name, value: T | undefined): { readonly [K in Name]?: T } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [K in Name]?: T });
}

type ConnectionKind = "nats.connected" | "nats.disconnected" | "nats.mismatch";

function byConnection<Kind extends ConnectionKind>(facts: StoryFacts, kind: Kind): ReadonlyMap<string, Of<Kind>> {
  const found = new Map<string, Of<Kind>>();
  for (const record of facts.records) {
    if (record.kind !== kind || record.session !== facts.session.id) continue;
    const one = record as Of<Kind>;
    found.set((one.data as { readonly connection: string }).connection, one);
  }
  return found;
}

function closedAfter({ session }: StoryFacts, closed: Of<"nats.disconnected"> | undefined): number | undefined {
  if (closed === undefined || session.endedAt === undefined) return undefined;
  const after = Date.parse(closed.time) - session.endedAt;
  // An end acts before its own record is written.
  const byTheEnd = closed.data.reason === "session_ended";
  return after >= 0 || byTheEnd ? Math.max(after, 0) : undefined;
}

type Unjudged = Omit<NatsConnectionStory, "problems">;

/** A final record waits so long for the server's totals, ms. */
const totalsMs = 5_000;

function connectionProblems(story: Unjudged, facts: StoryFacts): readonly Problem[] {
  return [
    ...openingProblems(story),
    ...closingProblems(story, facts),
    ...serverProblems(story),
    ...recordProblems(story),
    ...lateProblems(story, facts),
  ];
}

const recordsOf = ({ connected, closed, mismatch }: Unjudged): readonly (string | undefined)[] => [
  mismatch?.id,
  closed?.id,
  connected?.id,
];

function openingProblems(story: Unjudged): readonly Problem[] {
  const { id, gateway, connected } = story;
  if (connected === undefined) {
    const says = `looked for nats.connected of ${id} in the audit log`;
    const causes = ["a crash lost the record: look for audit.gap", "it is older than the log is kept"] as const;
    return [problem("nats_opening_missing", gateway, says, causes, recordsOf(story))];
  }
  if (connected.data.mode !== "direct") return [];
  const says = `${id} went to nats-server ${connected.data.server_version} itself`;
  const causes = ["`direct: true` in its configuration", "see wayleave doctor"] as const;
  return [problem("nats_unrecorded", gateway, says, causes, [connected.id])];
}

function closingProblems(story: Unjudged, { session }: StoryFacts): readonly Problem[] {
  const { id, gateway, closed } = story;
  if (closed !== undefined || session.endedAt === undefined) return [];
  const says = `the session is over since ${clock(session.endedAt)}; looked for nats.disconnected of ${id}`;
  const causes = [
    `${gateway} stopped before it could write it: the connection ended with it, its totals are unknown`,
    `${gateway} has not heard of the end: see its check in wayleave doctor`,
  ] as const;
  return [problem("nats_close_missing", gateway, says, causes, recordsOf(story))];
}

/** The server's counts against the gateway's, in the server's words: `received` is what the job published. */
function serverProblems(story: Unjudged): readonly Problem[] {
  const { id, gateway, closed, mismatch } = story;
  if (mismatch !== undefined) {
    const { gateway_counts: ours, server_counts: theirs } = mismatch.data;
    return [differs(story, ours, { published: theirs.received, delivered: theirs.sent })];
  }
  if (closed === undefined) return [];
  const { server } = closed.data;
  if (server === undefined) {
    const says = `looked for the server's own totals of ${id} in ${closed.id}`;
    const causes = [
      `${gateway}'s system account was not connected: see wayleave doctor`,
      "the server went away together with the connection, or told its totals too late",
    ] as const;
    return [problem("nats_totals_missing", gateway, says, causes, [closed.id])];
  }
  if (recordContradicts(closed.data) !== true) return [];
  return [differs(story, closed.data, { published: server.received, delivered: server.sent })];
}

interface Totals {
  readonly published: NatsCount;
  readonly delivered: NatsCount;
}

function differs(story: Unjudged, ours: Totals, theirs: Totals): Problem {
  const { id, gateway } = story;
  const says = `${gateway} counted ${totals(ours)} of ${id}; the server ${totals(theirs)}`;
  const causes = [
    "messages that the gateway forwarded when the server closed the connection never arrived there",
    `somebody reached the server's connection past ${gateway}`,
  ] as const;
  return problem("nats_counts_differ", gateway, says, causes, recordsOf(story));
}

/** The gateway's own counts against the records of messages. */
function recordProblems(story: Unjudged): readonly Problem[] {
  const { id, gateway, closed, traffic, connected } = story;
  if (closed === undefined || traffic?.cut === true || connected?.data.mode === "direct") return [];
  const none = { messages: 0, bytes: 0 };
  const { published, delivered } = traffic ?? { published: none, delivered: none };
  if (sameCount(published, closed.data.published) && sameCount(delivered, closed.data.delivered)) return [];
  const says = `${gateway} counted ${totals(closed.data)} of ${id}; the records have ${totals({ published, delivered })}`;
  const causes = [
    "a crash lost records of `records: fast`: look for audit.gap",
    `wayleave audit list --session ${closed.session ?? ""} --nats names the messages that are missing`,
  ] as const;
  return [problem("nats_records_differ", gateway, says, causes, recordsOf(story))];
}

function lateProblems(story: Unjudged, { session, gateways }: StoryFacts): readonly Problem[] {
  const { id, gateway, traffic, closedAfterMs, closed } = story;
  const { endedAt } = session;
  const boundMs = gateways.find(({ name }) => name === gateway)?.boundMs ?? 0;
  if (endedAt === undefined) return [];
  const causes = [
    `${gateway} did not hear of the end in time: see wayleave doctor`,
    "the broker or the gateway was overloaded",
  ] as const;
  const found: Problem[] = [];
  const lastAfter = (traffic?.lastAt ?? endedAt) - endedAt;
  if (lastAfter > boundMs) {
    const says = `a message of ${id} passed ${lastAfter} ms after the end; the bound of ${gateway} is ${boundMs} ms`;
    found.push(problem("served_after_end", gateway, says, causes, recordsOf(story)));
  }
  // Without totals the final record had to wait for them in vain.
  if ((closedAfterMs ?? 0) > boundMs + (closed?.data.server === undefined ? totalsMs : 0)) {
    const says = `${id} was closed ${closedAfterMs} ms after the end; the bound of ${gateway} is ${boundMs} ms`;
    found.push(problem("nats_closed_late", gateway, says, causes, recordsOf(story)));
  }
  return found;
}

function sameCount(one: NatsCount, other: NatsCount): boolean {
  return one.messages === other.messages && one.bytes === other.bytes;
}

function totals({ published, delivered }: Totals): string {
  return `${published.messages} published (${published.bytes} bytes) and ${delivered.messages} delivered (${delivered.bytes} bytes)`;
}
