import type { Story } from "../gateway/story.ts";
import type { NatsConnectionStory } from "../gateway/story-nats.ts";
import type { Problem } from "../gateway/story-problems.ts";
import { totalsText } from "./audit-nats-text.ts";
import { count } from "./terminal.ts";
import { duration, type StoryRow, time } from "./verify-row.ts";

/** Connections shown one by one; where all is well, the rest is counted. */
const shownConnections = 8;

/** The session's NATS connections, and what is wrong with each. */
export function natsRows({ connections }: Story, problemRow: (problem: Problem) => StoryRow): readonly StoryRow[] {
  const broken = connections.filter(({ problems }) => problems.length > 0);
  const shown = new Set([...broken.slice(0, shownConnections), ...connections.slice(0, shownConnections)]);
  const rows = connections
    .filter((connection) => shown.has(connection))
    .flatMap((connection) => [connectionRow(connection), ...connection.problems.map(problemRow)]);
  const rest = connections.length - shown.size;
  return rest === 0 ? rows : [...rows, { label: "", text: `… ${count(rest, "more connection")}; --json has them` }];
}

function connectionRow(connection: NatsConnectionStory): StoryRow {
  const { id, gateway, connected } = connection;
  const account = connected === undefined ? "" : `  account ${connected.data.account}`;
  return {
    label: "nats",
    text: `${gateway}  ${id}${account}`,
    ...(connected === undefined ? {} : { at: Date.parse(connected.time) }),
    record: (connected ?? connection.closed)?.id,
    details: [...openingText(connection), countsText(connection), endText(connection)],
  };
}

function openingText({ connected }: NatsConnectionStory): readonly string[] {
  if (connected === undefined) return [];
  const { server_version, cid, server_id, roles, records, mode } = connected.data;
  const recorded = mode === "direct" ? "direct, no records of messages" : `records ${records}`;
  return [
    `cid ${cid} of nats-server ${server_version} ${server_id.slice(0, 8)}… · roles ${roles.join(", ") || "none"} · ${recorded}`,
  ];
}

function countsText({ closed, traffic, problems }: NatsConnectionStory): string {
  const none = { messages: 0, bytes: 0 };
  const counts = closed?.data ?? traffic ?? { published: none, delivered: none };
  const denied = closed === undefined || closed.data.denied === 0 ? "" : `, ${closed.data.denied} denied`;
  const differ = problems.some(({ code }) => code === "nats_counts_differ");
  const agrees = closed?.data.server === undefined || differ ? "" : "; the server agrees";
  return `${totalsText(counts)}${denied}${closed === undefined ? " so far" : agrees}`;
}

function endText({ closed, traffic, closedAfterMs }: NatsConnectionStory): string {
  const last = traffic === undefined ? "no message" : `last message ${time(traffic.lastAt)}`;
  if (closed === undefined) return `${last}, no final record`;
  const reason = closed.data.reason.replaceAll("_", " ");
  const after =
    closedAfterMs === undefined ? `at ${time(Date.parse(closed.time))}` : `${duration(closedAfterMs)} after the end`;
  return `${last}, closed ${after} (${reason})`;
}
