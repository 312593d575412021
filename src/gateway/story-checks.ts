import { cleanText, maxText } from "./evidence.ts";
import type { StoryFacts, StoryGateway } from "./story-facts.ts";
import {
  type DecisionRecord,
  type EntryRecord,
  entryOperation,
  failed,
  type Hop,
  isRepeat,
  passedOn,
} from "./story-hop.ts";
import { type Problem, problem } from "./story-problems.ts";

/** Clocks of gateways and of the broker may differ this much, and NGINX's log has whole seconds, ms. */
const clockMs = 2_500;

/** A log is sent on within this time, ms. */
const shippedMs = 5_000;

/** A policy that was loaded this recently may not be everywhere yet, ms. */
const policySettlesMs = 60_000;

const forged = "the line is not of this request: somebody writes into that log";
const otherBroker = "the gateway asks another broker than this one";

/** Everything that is wrong with one hop by itself: what it says against what was decided, and against the session. */
export function hopProblems(hop: Hop, facts: StoryFacts): readonly Problem[] {
  const { entry, decision } = hop;
  if (entry === undefined) return missingEntry(hop);
  return [
    ...identityProblems(hop, entry, facts),
    ...(decision === undefined ? [] : decisionProblems(hop, entry, decision)),
    ...outcomeProblems(hop, entry),
    ...peerProblems(hop, entry, facts),
    ...lateProblems(hop, entry, facts),
  ];
}

function missingEntry({ gateway, decision, at }: Hop): readonly Problem[] {
  if (decision === undefined || gateway.ships === "none") return [];
  const trace = decision.trace === undefined ? "" : `, trace ${decision.trace.slice(0, 8)}…`;
  return [
    problem(
      "entry_missing",
      gateway.name,
      `looked for ${decision.data.operation} (${decision.id}${trace}) in the log of ${gateway.name} from ${clock(at)} on`,
      notShipped(gateway, at),
      [decision.id],
    ),
  ];
}

/** Why a gateway's own log has no line of a time. One that was heard of since has a log that arrives. */
export function notShipped({ name, kind, ships, heardAt }: StoryGateway, at: number): readonly [string, string] {
  const agent = `wayleave gateway follow --gateway ${name}`;
  const shipped =
    ships === "grpc"
      ? `${name} cannot reach the broker's gRPC listener with its access log`
      : `its log is not shipped: run ${agent} beside it`;
  const elsewhere =
    kind === "nginx"
      ? "the location has an access_log of its own, or access_log off, beside the rendered include"
      : `the configuration that ${name} runs is not the rendered one: render it again`;
  return heardAt !== undefined && heardAt > at + shippedMs ? [elsewhere, shipped] : [shipped, elsewhere];
}

function identityProblems(hop: Hop, entry: EntryRecord, facts: StoryFacts): readonly Problem[] {
  const { name } = hop.gateway;
  const { subject } = entry.data;
  const found: Problem[] = [];
  const known = hop.decision !== undefined || entry.data.decision_record !== undefined;
  if (entry.session !== facts.session.id && (entry.session !== undefined || known)) {
    const said = entry.session ?? (entry.data.detail?.startsWith("names ") ? entry.data.detail : "no session");
    found.push(problem("session_differs", name, `${name} says ${said}`, [forged, otherBroker], [entry.id]));
  }
  if (subject !== undefined && subject !== facts.session.subject) {
    const says = `${name} says ${subject}; the session is ${facts.session.subject}`;
    const headers = "identity headers of the client reach its log: render the configuration again";
    found.push(problem("subject_differs", name, says, [headers, forged], [entry.id]));
  }
  if (hop.unknownDecision) {
    const says = `${name} names ${entry.data.decision_record}, which is not in this log`;
    found.push(
      problem(
        "decision_unknown",
        name,
        says,
        [otherBroker, "the record was lost in a crash: look for audit.gap"],
        [entry.id],
      ),
    );
  }
  if (hop.reused) {
    const says = `${name} names ${hop.decision?.id} for more than one request, and none of them as cached`;
    const cache = "a cache in front of the question that is not the rendered one";
    found.push(problem("decision_reused", name, says, [cache, forged], [entry.id, hop.decision?.id]));
  }
  return found;
}

/** Members of an entry that must repeat what its decision says. */
function decisionProblems(hop: Hop, entry: EntryRecord, decision: DecisionRecord): readonly Problem[] {
  const { name } = hop.gateway;
  const records = [entry.id, decision.id];
  const { data } = entry;
  const made = decision.data;
  const compare = (code: Problem["code"], said: string | undefined, want: string | undefined) =>
    said === undefined || want === undefined || said === want
      ? []
      : [
          problem(
            code,
            name,
            `${name} says ${said}; the decision was made for ${want}`,
            [forged, otherBroker],
            records,
          ),
        ];
  const repeats = isRepeat(entry);
  return [
    ...compare("request_differs", entryOperation(entry), cleanOperation(made.operation)),
    ...compare("request_differs", hostOf(data.host), hostOf(made.host)),
    ...compare("target_differs", data.target, made.target),
    ...compare("role_differs", data.role, made.effect === "allow" ? made.rule : undefined),
    ...compare("policy_differs", data.policy, made.policy),
    // A repeated answer is the decision of an earlier request, with that one's trace.
    ...(repeats ? [] : compare("trace_differs", entry.trace, decision.trace)),
    ...compare("outcome_differs", data.decision, made.outcome),
  ];
}

/** Without port, lower case: gateways differ in how they write it. */
function hostOf(host: string | undefined): string | undefined {
  return host?.replace(/:\d+$/, "").toLowerCase() || undefined;
}

/** As the gateway's line was cleaned. */
function cleanOperation(operation: string): string {
  const space = operation.indexOf(" ");
  if (space === -1) return operation;
  const path = cleanText(operation.slice(space + 1), maxText.path) ?? "";
  return `${operation.slice(0, space)} ${path}`.slice(0, 512);
}

/** Whether the client got what the gateway was told. */
function outcomeProblems(hop: Hop, entry: EntryRecord): readonly Problem[] {
  const { name } = hop.gateway;
  const { status, upstream_status: upstream } = entry.data;
  const passed = passedOn({ ...(hop.decision === undefined ? {} : { decision: hop.decision }), entry });
  const records = [entry.id, hop.decision?.id];
  const operation = entryOperation(entry);
  if (passed === false && ((status > 0 && status < 400) || upstream !== undefined)) {
    const says = `${operation} was refused, and ${name} answered ${status}${upstream === undefined ? "" : ` from upstream`}`;
    const passes = "an earlier location or route serves it without asking: run wayleave doctor";
    return [problem("served_though_refused", name, says, [passes, forged], records)];
  }
  if (passed === true && (status === 401 || status === 403) && upstream === undefined) {
    const says = `${operation} was allowed, and ${name} answered ${status} by itself`;
    const rules = `${name} has rules of its own beside Wayleave's (allow, deny, another filter)`;
    return [problem("refused_though_allowed", name, says, [rules, forged], records)];
  }
  if (upstream !== undefined && status > 0 && !sameAnswer(status, upstream)) {
    const says = `${name} got ${upstream} from upstream and answered ${status}`;
    const replaces = `${name} replaces upstream's answers: proxy_intercept_errors, X-Accel-Redirect or a local reply`;
    return [problem("status_differs", name, says, [replaces, forged], records)];
  }
  return [];
}

/** By class; a conditional or range request is answered by the gateway from a good answer of the upstream. */
function sameAnswer(status: number, upstream: number): boolean {
  const conditional = upstream >= 200 && upstream < 300 && [304, 412, 416].includes(status);
  return conditional || Math.floor(status / 100) === Math.floor(upstream / 100);
}

function peerProblems({ gateway }: Hop, entry: EntryRecord, facts: StoryFacts): readonly Problem[] {
  if (gateway.behind.length === 0) return [];
  const peers = gateway.behind.map((front) => `spiffe://${facts.trustDomain}/gateway/${front}`);
  const { peer } = entry.data;
  if (peer !== undefined && peers.includes(peer)) return [];
  const says = `${gateway.name} saw ${peer === undefined ? "no client certificate" : `peer ${peer}`}; wanted ${peers.join(" or ")}`;
  const causes = [
    `a route to ${gateway.name} without mutual TLS: render its configuration again`,
    `somebody other than ${gateway.behind.join(" or ")} reaches ${gateway.name}`,
  ] as const;
  return [problem("peer_differs", gateway.name, says, causes, [entry.id])];
}

function lateProblems(hop: Hop, entry: EntryRecord, facts: StoryFacts): readonly Problem[] {
  const { endedAt } = facts.session;
  const { gateway } = hop;
  if (endedAt === undefined || passedOn({ entry }) !== true) return [];
  const late = entry.data.at - endedAt;
  if (late <= gateway.boundMs + clockMs) return [];
  const says = `${gateway.name} passed ${entryOperation(entry)} ${Math.round(late)} ms after the end; its bound is ${gateway.boundMs} ms`;
  const causes = [
    `${gateway.name} does not hear of ended sessions: see wayleave doctor`,
    `its clock is ahead: see the check of clocks in wayleave doctor`,
  ] as const;
  return [problem("served_after_end", gateway.name, says, causes, [entry.id])];
}

/** What is wrong between a hop and the hops further in. */
export function innerProblems(hop: Hop, facts: StoryFacts): readonly Problem[] {
  const found = [...hop.inner.flatMap((inner) => pairProblems(hop, inner, facts)), ...servedTwice(hop)];
  const expected = expectedInner(hop, facts);
  const [first] = expected;
  if (first === undefined || hop.inner.length > 0) return found;
  const names = expected.map(({ name }) => name).join(" or ");
  const record = hop.decision ?? hop.entry;
  const what = hop.entry === undefined ? hop.decision?.data.operation : entryOperation(hop.entry);
  const past = `the route does not pass ${names}: ${hop.gateway.name} reaches the service itself`;
  const [log] = notShipped(first, hop.at);
  const arrives = expected.every(({ heardAt }) => heardAt !== undefined && heardAt > hop.at + shippedMs);
  const causes = arrives ? ([past, log] as const) : ([log, past] as const);
  const trace = record?.trace === undefined ? "" : ` by trace ${record.trace.slice(0, 8)}…`;
  const says = `${hop.gateway.name} passed ${what} on at ${clock(hop.at)}; looked for it${trace} in decisions and log of ${names}`;
  return [...found, problem("inner_hop_missing", names, says, causes, [hop.decision?.id, hop.entry?.id])];
}

/** What was passed on once was served once: a gateway in front tries again only after a failure. */
function servedTwice(hop: Hop): readonly Problem[] {
  const served = hop.inner.filter((inner) => passedOn(inner) === true && !failed(inner));
  const repeated = served.find((inner, at) => served.findIndex(({ gateway }) => gateway === inner.gateway) !== at);
  if (repeated === undefined) return [];
  const { name } = repeated.gateway;
  const says = `${hop.gateway.name} passed it on once; ${name} served it ${served.length} times`;
  const replay = `somebody with the certificate of ${hop.gateway.name} repeated it with the same assertion`;
  const records = [hop.decision?.id, ...served.map(({ entry, decision }) => (entry ?? decision)?.id)];
  return [problem("decision_reused", name, says, [replay, forged], records)];
}

/** Gateways that must have seen what this one passed on: one of them is enough, they may be replicas. */
function expectedInner(hop: Hop, facts: StoryFacts): readonly StoryGateway[] {
  const target = hop.decision?.data.target ?? hop.entry?.data.target;
  if (passedOn(hop) !== true || target === undefined || unreached(hop)) return [];
  return facts.gateways.filter(({ behind, targets }) => behind.includes(hop.gateway.name) && targets.includes(target));
}

/** The gateway got no answer from further in, so nobody there may have a line. */
function unreached({ entry }: Hop): boolean {
  if (entry === undefined) return false;
  const { status, upstream_status } = entry.data;
  return (
    (status === 0 || (status >= 502 && status <= 504)) && (upstream_status === undefined || upstream_status >= 502)
  );
}

function pairProblems(outer: Hop, inner: Hop, facts: StoryFacts): readonly Problem[] {
  const found: Problem[] = [];
  const from = outer.gateway.name;
  const { name } = inner.gateway;
  const records = [outer.decision?.id, outer.entry?.id, inner.decision?.id, inner.entry?.id];
  const differ = (
    code: Problem["code"],
    here: string | undefined,
    there: string | undefined,
    causes: readonly [string, string],
  ) => {
    if (here === undefined || there === undefined || here === there) return;
    found.push(problem(code, name, `${from} says ${here}; ${name} says ${there}`, causes, records));
  };
  if (passedOn(outer) === false) {
    const says = `${from} refused it, and ${name} has it all the same`;
    found.push(problem("served_though_refused", name, says, [`a route reaches ${name} past ${from}`, forged], records));
  }
  const rewritten = `${from} or something between rewrites requests: remove the rewrite`;
  const operation = (hop: Hop) => (hop.entry === undefined ? hop.decision?.data.operation : entryOperation(hop.entry));
  differ("request_differs", operation(outer), operation(inner), [rewritten, forged]);
  const target = (hop: Hop) => hop.decision?.data.target ?? hop.entry?.data.target;
  differ("target_differs", target(outer), target(inner), [
    `the route of ${from} leads to another target's service`,
    forged,
  ]);
  const role = (hop: Hop) => (passedOn(hop) === true ? (hop.decision?.data.rule ?? hop.entry?.data.role) : undefined);
  const other = "the assertion is of another request";
  differ("role_differs", role(outer), role(inner), [other, forged]);
  const trace = (hop: Hop) =>
    hop.entry !== undefined && isRepeat(hop.entry) ? hop.entry.trace : (hop.decision ?? hop.entry)?.trace;
  differ("trace_differs", trace(outer), innerTrace(inner), [
    `something between ${from} and ${name} starts a trace of its own`,
    forged,
  ]);
  if (!settling(outer.at, facts)) {
    const policy = (hop: Hop) => hop.entry?.data.policy ?? hop.decision?.data.policy;
    const old = `${name} has not taken the policy in force: see wayleave gateway list`;
    differ("policy_differs", policy(outer), policy(inner), [old, `${from} asks another broker`]);
  }
  found.push(...statusProblems(outer, inner, records));
  return found;
}

const innerTrace = (hop: Hop) => (hop.entry ?? hop.decision)?.trace;

/** What the inner gateway answered is what the outer one got from it: the last try, where there were several. */
function statusProblems(outer: Hop, inner: Hop, records: readonly (string | undefined)[]): readonly Problem[] {
  if (outer.inner.findLast(({ gateway }) => gateway === inner.gateway) !== inner) return [];
  const got = outer.entry?.data.upstream_status ?? outer.entry?.data.status;
  const gave = inner.entry?.data.status;
  if (got === undefined || gave === undefined || got === 0 || gave === 0) return [];
  if (sameAnswer(got, gave)) return [];
  const says = `${outer.gateway.name} got ${got} from further in; ${inner.gateway.name} says it answered ${gave}`;
  const between = `something between ${outer.gateway.name} and ${inner.gateway.name} answers for it`;
  return [problem("status_differs", inner.gateway.name, says, [between, forged], records)];
}

function settling(at: number, { policies }: StoryFacts): boolean {
  return policies.some((loaded) => at >= loaded.at - clockMs && at - loaded.at < policySettlesMs);
}

/** An inner hop that nothing in front leads to, and that let nothing through. */
function isStray(hop: Hop): boolean {
  return hop.gateway.behind.length > 0 && passedOn(hop) === false;
}

/** An inner hop that nothing in front leads to. */
export function frontProblem(hop: Hop, facts: StoryFacts): readonly Problem[] {
  if (hop.gateway.behind.length === 0) return [];
  const names = hop.gateway.behind.join(" or ");
  const front = facts.gateways.find(({ name }) => hop.gateway.behind.includes(name));
  const [shipped] = front === undefined ? [`${names} is not in the inventory`] : notShipped(front, hop.at);
  const what = hop.entry === undefined ? hop.decision?.data.operation : entryOperation(hop.entry);
  const says = `${hop.gateway.name} has ${what} at ${clock(hop.at)}; looked for it in decisions and log of ${names}`;
  const past = `the request came past ${names}, with its certificate and an assertion`;
  if (isStray(hop)) {
    const knocked = `somebody asked ${hop.gateway.name} past ${names}, and got nothing`;
    return [
      problem("refused_past_front", hop.gateway.name, says, [knocked, shipped], [hop.decision?.id, hop.entry?.id]),
    ];
  }
  return [problem("front_hop_missing", names, says, [shipped, past], [hop.decision?.id, hop.entry?.id])];
}

/** `09:30:13.020`, UTC. */
export function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 23);
}
