import type { AuditRecord } from "../core/record.ts";
import { clock, frontProblem, hopProblems, innerProblems, notShipped } from "./story-checks.ts";
import { type EndPoint, endPoints } from "./story-end.ts";
import { type JobLogReading, openedNeedle, type StoryFacts } from "./story-facts.ts";
import { assembleHops, type Hop } from "./story-hop.ts";
import { meshProblems } from "./story-mesh.ts";
import { type NatsConnectionStory, natsConnections } from "./story-nats.ts";
import { type Problem, problem } from "./story-problems.ts";

/** One session, hop by hop, and whether every hop says the same. */
export interface Story {
  readonly verdict: "confirmed" | "incomplete" | "contradicted";
  readonly jobLog: StoryFacts["jobLog"];
  readonly opened?: AuditRecord & { readonly kind: "session.opened" };
  readonly tokens: readonly (AuditRecord & { readonly kind: "credential.minted" })[];
  /** Oldest first. */
  readonly requests: readonly RequestStory[];
  /** In the order they were made. */
  readonly connections: readonly NatsConnectionStory[];
  readonly ended?: AuditRecord & { readonly kind: "session.ended" };
  readonly ends: readonly EndPoint[];
  readonly problems: readonly Problem[];
}

/** One request from its first hop on, and what is wrong with it. */
export interface RequestStory {
  readonly first: Hop;
  readonly problems: readonly Problem[];
}

/** Which part of a session is asked about. */
export interface StoryScope {
  /** Only requests of this trace. */
  readonly trace?: string;
}

/**
 * The session's story from records alone: pure, so that the same records always tell the same. A hop that the inventory
 * says must be there and is not, and hops that do not say the same, are problems with their two likeliest causes.
 * Not seen: a request at a gateway that enforces by itself, is alone on its way, and sends its log for other requests only.
 */
export function tellStory(facts: StoryFacts, scope: StoryScope = {}): Story {
  const { records, session } = facts;
  const mine = records.filter((record) => record.session === session.id);
  const opened = mine.find((record) => record.kind === "session.opened");
  const tokens = mine.filter((record) => record.kind === "credential.minted");
  const ended = mine.find((record) => record.kind === "session.ended");
  const all = assembleHops(facts);
  const asked = scope.trace === undefined ? all : all.filter((hop) => hasTrace(hop, scope.trace ?? ""));
  const requests = asked.map((first) => ({ first, problems: requestProblems(first, facts, true) }));
  const connections = scope.trace === undefined ? natsConnections(facts) : [];
  const jobLog = jobLogOf(facts, opened);
  const problems = [
    ...jobLogProblems(facts, jobLog),
    ...(opened === undefined ? [noOpening(facts)] : []),
    ...(tokens.length === 0 && requests.some(needsToken) ? [noToken(facts)] : []),
    ...requests.flatMap((request) => request.problems),
    ...(scope.trace === undefined ? silentGateways(facts, tokens, all) : []),
    ...meshProblems(facts),
    ...connections.flatMap((connection) => connection.problems),
    ...(session.state === "ended" && ended === undefined ? [noEnd(facts)] : []),
  ];
  return {
    verdict: verdictOf(problems),
    jobLog,
    ...(opened === undefined ? {} : { opened }),
    tokens,
    requests,
    connections,
    ...(ended === undefined ? {} : { ended }),
    ends: endPoints(facts, all, connections, ended),
    problems,
  };
}

function verdictOf(problems: readonly Problem[]): Story["verdict"] {
  if (problems.some(({ kind }) => kind === "contradiction")) return "contradicted";
  return problems.some(({ kind }) => kind === "missing") ? "incomplete" : "confirmed";
}

function hasTrace(hop: Hop, trace: string): boolean {
  return (
    [hop.decision, hop.entry].some((record) => record?.trace === trace) ||
    hop.inner.some((each) => hasTrace(each, trace))
  );
}

function requestProblems(hop: Hop, facts: StoryFacts, first: boolean): readonly Problem[] {
  return [
    ...(first ? frontProblem(hop, facts) : []),
    ...hopProblems(hop, facts),
    ...innerProblems(hop, facts),
    ...hop.inner.flatMap((inner) => requestProblems(inner, facts, false)),
  ];
}

/** A client that brings the job's own token opens the session by that, and prints nothing. */
function jobLogOf({ jobLog }: StoryFacts, opened: Story["opened"]): JobLogReading {
  const by = opened?.data.presented?.gateway;
  if (by === undefined || jobLog.state !== "absent") return jobLog;
  return { state: "unread", detail: `a client presented the job's token at ${by}, which prints nothing` };
}

function jobLogProblems({ session }: StoryFacts, jobLog: JobLogReading): readonly Problem[] {
  // A log that is still being written may not have arrived.
  if (jobLog.state !== "absent" || session.state !== "ended") return [];
  const says = `looked for "${openedNeedle(session.id)}" in ${jobLog.detail}`;
  const causes = [
    "the job opened it with bare curl, or with its output sent elsewhere",
    "the session was opened outside this job, with the job's token",
  ] as const;
  return [problem("job_log_line_missing", "job log", says, causes)];
}

function noOpening({ session }: StoryFacts): Problem {
  const says = `looked for session.opened of ${session.id} in the audit log`;
  const causes = ["the record is older than the log is kept", "the index is being built again: ask later"] as const;
  return problem("opening_missing", "token", says, causes);
}

/** A NATS gateway takes passwords and the job's own identity token. */
function needsToken({ first }: RequestStory): boolean {
  return first.gateway.kind !== "nats";
}

function noToken({ session }: StoryFacts): Problem {
  const says = `looked for credential.minted of ${session.id} in the audit log`;
  const causes = ["a crash lost the record: look for audit.gap", "the token was not minted by this broker"] as const;
  return problem("token_missing", "token", says, causes);
}

function noEnd({ session }: StoryFacts): Problem {
  const says = `the session is over since ${clock(session.endedAt ?? 0)}; looked for session.ended in the audit log`;
  const causes = [
    "the end could not be written: see the broker's log",
    "the index is being built again: ask later",
  ] as const;
  return problem("end_missing", "end", says, causes);
}

/** Of a gateway that decides by itself only its log tells: where it has sent nothing since, nobody knows what it did. */
function silentGateways(facts: StoryFacts, tokens: Story["tokens"], hops: readonly Hop[]): readonly Problem[] {
  const wanted = new Set(tokens.flatMap(({ data }) => data.audience));
  const seen = new Set<string>();
  const visit = (hop: Hop): void => {
    seen.add(hop.gateway.name);
    hop.inner.forEach(visit);
  };
  hops.forEach(visit);
  return facts.gateways
    .filter(({ asks, ships, behind }) => !asks && ships !== "none" && behind.length === 0)
    .filter(({ name, targets }) => !seen.has(name) && targets.some((target) => wanted.has(target)))
    .filter(({ heardAt }) => heardAt === undefined || heardAt < facts.session.openedAt)
    .map((gateway) =>
      problem(
        (gateway.aliveAt ?? 0) >= facts.session.openedAt ? "gateway_quiet" : "gateway_silent",
        gateway.name,
        `a token was minted for what ${gateway.name} fronts; looked for any line of its log since ${clock(facts.session.openedAt)}`,
        notShipped(gateway, facts.session.openedAt),
        tokens.slice(0, 1).map(({ id }) => id),
      ),
    );
}
