import type { RequestStory, Story } from "../gateway/story.ts";
import { openedNeedle, type StoryFacts } from "../gateway/story-facts.ts";
import { type Hop, operationOf } from "../gateway/story-hop.ts";
import { meshPairs } from "../gateway/story-mesh.ts";
import { type Problem, problemCodes } from "../gateway/story-problems.ts";
import { count, lineWidth, type Paint, printable } from "./terminal.ts";
import { natsRows } from "./verify-nats.ts";
import { duration, rowText, type StoryRow, short, time } from "./verify-row.ts";

/** Requests shown one by one; where all is well, the rest is counted. */
const shownRequests = 12;
const shownProblems = 20;

/** The story as a tree, and its verdict in one sentence. */
export function storyText(paint: Paint, facts: StoryFacts, story: Story): string {
  const rows = [
    jobLogRow(facts, story),
    ...openingRows(facts, story),
    ...requestRows(facts, story),
    ...natsRows(story, problemRow),
    ...meshRows(facts),
    ...story.problems
      .filter(
        (problem) => ![...story.requests, ...story.connections].some(({ problems }) => problems.includes(problem)),
      )
      .map(problemRow),
    ...endRows(facts, story),
  ];
  const tree = rows.map((row, at) => rowText(paint, row, at === rows.length - 1)).join("");
  return `${headText(paint, facts)}${tree}\n${verdictText(paint, facts, story)}`;
}

function headText(paint: Paint, { session }: StoryFacts): string {
  const { id, project, jobName, jobId, openedAt, endedAt, endReason, state } = session;
  const who = printable(`session ${id}  ${project} ${jobName ?? "job"} #${jobId}`);
  const end = endedAt === undefined ? state : `${time(endedAt)} (${(endReason ?? "ended").replaceAll("_", " ")})`;
  const when = `${day(openedAt)} ${time(openedAt)} → ${end}`;
  const gap = lineWidth - who.length - when.length;
  return gap >= 2
    ? `${paint("bold", who)}${" ".repeat(gap)}${when}\n`
    : `${paint("bold", who)}\n${" ".repeat(9)}${when}\n`;
}

function jobLogRow({ session }: StoryFacts, { jobLog }: Story): StoryRow {
  if (jobLog.state === "unread") return { label: "job log", text: `not read: ${jobLog.detail}` };
  const said = jobLog.state === "found" ? `"${openedNeedle(session.id)}"` : "does not say that it opened this session";
  return { label: "job log", text: said, details: [`in ${jobLog.detail}`] };
}

function openingRows({ session }: StoryFacts, { opened, tokens }: Story): readonly StoryRow[] {
  const [first] = tokens;
  const token: readonly StoryRow[] =
    first === undefined
      ? []
      : [
          {
            label: "",
            text: `access token for ${first.data.audience.join(", ")}${tokens.length > 1 ? ` and ${count(tokens.length - 1, "renewal")}` : ""}`,
            at: Date.parse(first.time),
            record: first.id,
            details: [`roles ${first.data.roles.join(", ") || "none"}`],
          },
        ];
  if (opened === undefined) return token;
  const { kid, identity, jkt, policy } = opened.data;
  const facts = [
    ...(kid === undefined ? [] : [`kid ${short(kid)}`]),
    `fork ${identity.fork}`,
    jkt === undefined ? "bearer" : "bound to the job's key",
    `policy ${short(policy)}`,
  ];
  return [
    {
      label: "token",
      text: `${session.issuer} id token exchanged`,
      at: Date.parse(opened.time),
      record: opened.id,
      details: [facts.join(" · ")],
    },
    ...token,
  ];
}

function requestRows(facts: StoryFacts, { requests }: Story): readonly StoryRow[] {
  const broken = requests.filter(({ problems }) => problems.length > 0);
  const shown = new Set([...broken.slice(0, shownProblems), ...requests.slice(0, shownRequests)]);
  const rows = requests.filter((request) => shown.has(request)).flatMap((request) => oneRequest(facts, request));
  const rest = requests.filter((request) => !shown.has(request));
  if (rest.length === 0) return rows;
  const bad = rest.filter(({ problems }) => problems.length > 0).length;
  const how = bad === 0 ? "every hop the same" : `${bad} of them with problems`;
  return [...rows, { label: "", text: `… ${count(rest.length, "more request")}, ${how}; --json has them` }];
}

function oneRequest(facts: StoryFacts, { first, problems }: RequestStory): readonly StoryRow[] {
  return [...hopRows(facts, first, undefined), ...problems.map(problemRow)];
}

function hopRows(facts: StoryFacts, hop: Hop, from: Hop | undefined): readonly StoryRow[] {
  const rows = [hopRow(facts, hop, from), ...hop.inner.flatMap((inner) => hopRows(facts, inner, hop))];
  const upstream = hop.inner.length === 0 ? hop.entry?.data.upstream_status : undefined;
  if (upstream === undefined) return rows;
  const target = targetOf(hop) ?? "the service";
  const transaction = from?.decision?.id;
  const details = transaction === undefined ? [] : [`assertion txn ${transaction}`];
  return [...rows, { label: "upstream", text: `${target} answered ${upstream}`, details }];
}

function hopRow({ session }: StoryFacts, hop: Hop, from: Hop | undefined): StoryRow {
  const { gateway, decision, entry } = hop;
  const status = entry === undefined ? "" : entry.data.status === 0 ? "  no answer" : `  ${entry.data.status}`;
  const who = entry?.data.subject === undefined ? `session ${session.id}` : `subject ${entry.data.subject}`;
  const peer = entry?.data.peer;
  return {
    label: gateway.kind,
    text: `${gateway.name}  ${operationOf(hop)}  ${outcomeOf(hop).replace("_", " ")}${status}`,
    at: hop.at,
    record: entry?.id ?? decision?.id,
    details: [
      ...(peer === undefined
        ? []
        : [`mTLS ${from?.gateway.name ?? "?"} → ${targetOf(hop) ?? "service"}, peer ${peer}`]),
      who,
      decidedBy(hop),
    ],
  };
}

const outcomeOf = ({ decision, entry }: Hop): string => decision?.data.outcome ?? entry?.data.decision ?? "not decided";

/** Role or reason, policy, and how it was enforced. */
function decidedBy(hop: Hop): string {
  const { decision, entry } = hop;
  const outcome = outcomeOf(hop);
  const refused = outcome === "deny" || outcome === "would_deny";
  const role = decision?.data.rule ?? entry?.data.role;
  const policy = decision?.data.policy ?? entry?.data.policy;
  const facts = [
    ...(refused ? [`reason ${decision?.data.reason ?? entry?.data.reason ?? "not said"}`] : []),
    ...(refused || role === undefined ? [] : [`role ${role}`]),
    ...(policy === undefined ? [] : [`policy ${short(policy)}`]),
    entry === undefined ? "no line of its own" : enforcedWords[entry.data.enforced ?? "unknown"],
  ];
  return facts.join(" · ");
}

const enforcedWords = {
  native: "enforced natively",
  call_out: "by call-out",
  cached: "by a cached answer",
  kept: "by an answer kept through an outage",
  unknown: "by rules of its own",
} as const;

const targetOf = (hop: Hop): string | undefined => hop.decision?.data.target ?? hop.entry?.data.target;

function meshRows(facts: StoryFacts): readonly StoryRow[] {
  return meshPairs(facts).map(({ caller, service, workload, mtls, requests }, at) => ({
    label: at === 0 ? "mesh" : "",
    text: `${caller ?? "nobody known"} → ${service ?? workload ?? "a workload"}`,
    details: [`${mtls ? "mutual TLS" : "without mutual TLS"}, ${count(requests, "request")}`],
  }));
}

function problemRow({ code, kind, hop, found, causes, records }: Problem): StoryRow {
  return {
    label: kind === "note" ? "note" : kind === "missing" ? "MISSING" : "DIFFERS",
    text: `${hop}: ${problemCodes[code]}`,
    red: kind !== "note",
    details: [
      found,
      `likely: ${causes[0]}`,
      `or: ${causes[1]}`,
      ...(records.length === 0 ? [] : [`see: wayleave audit show ${records[0]}`]),
    ],
  };
}

function endRows({ session }: StoryFacts, { ended, ends }: Story): readonly StoryRow[] {
  if (session.endedAt === undefined) return [];
  const points = ends.map(({ gateway, firstRefusedAfterMs, closedAfterMs }) => {
    const refused =
      firstRefusedAfterMs === undefined
        ? "was not asked since"
        : `first refused ${duration(firstRefusedAfterMs)} after`;
    const closed = closedAfterMs === undefined ? "" : `closed its connections ${duration(closedAfterMs)} after, and `;
    return `${gateway} ${closed}${refused}`;
  });
  const why = (session.endReason ?? "ended").replaceAll("_", " ");
  return [{ label: "end", text: why, at: session.endedAt, record: ended?.id, details: points }];
}

function verdictText(paint: Paint, { session, cut }: StoryFacts, story: Story): string {
  const limit = cut ? "Only the newest records were looked at: this session has more.\n" : "";
  if (story.verdict !== "confirmed") {
    const missing = story.problems.filter(({ kind }) => kind === "missing").length;
    const differ = story.problems.filter(({ kind }) => kind === "contradiction").length;
    const parts = [
      ...(missing > 0 ? [`${count(missing, "hop")} missing`] : []),
      ...(differ > 0 ? [`${count(differ, "contradiction")}`] : []),
    ];
    return `${limit}${paint("red", `The hops do not confirm each other: ${parts.join(", ")}.`)}\n`;
  }
  const refused = story.ends.flatMap(({ firstRefusedAfterMs }) => firstRefusedAfterMs ?? []);
  const hops =
    story.requests.length + story.connections.length === 0
      ? "No request was made; what there is fits together."
      : "Every hop confirms the same identity.";
  const closed = story.ends.flatMap(({ closedAfterMs }) => closedAfterMs ?? []);
  const end =
    session.endedAt === undefined
      ? ""
      : refused.length === 0
        ? " Nothing was asked after the end."
        : ` Access was refused ${duration(Math.max(...refused))} after the end, wherever it was tried.`;
  const sockets =
    closed.length === 0 ? "" : `\nIts NATS connections were closed ${duration(Math.max(...closed))} after the end.`;
  return `${limit}${paint("green", `${hops}${end}${sockets}`)}\n`;
}

const day = (at: number): string => new Date(at).toISOString().slice(0, 10);
