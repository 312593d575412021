import type { NatsCount } from "../core/nats-record.ts";
import { type NatsRow, type NatsTotals, sameCount } from "./audit-nats-rows.ts";
import { count, lineWidth, type Paint, printable, wrap } from "./terminal.ts";

type RowOf<Type extends NatsRow["type"]> = NatsRow & { readonly type: Type };

/** What a listing knows before its first row. */
export interface NatsListing {
  /** Connections in the order they were made: each is called by its place. */
  readonly connections: readonly string[];
  /** Roles that may stand in its column. */
  readonly roles: readonly string[];
}

/** Columns of a row after its time and connection. */
interface Cells {
  readonly what: string;
  readonly number?: string;
  readonly bytes?: string;
  readonly role?: string;
  readonly text: string;
  readonly colour?: "red" | "yellow" | "bold";
  /** Lines below it. */
  readonly more?: readonly { readonly text: string; readonly colour?: "red" }[];
}

const timeWidth = 12;
const whatWidth = 8;
const numberWidth = 7;
const bytesWidth = 9;
const widestRole = 24;

/**
 * A listing's lines: time, connection where there are several, what, bytes (headers and payload), role, and the subject.
 * Connections that were not announced are numbered as they come.
 *
 * @param cut Whether a subject is cut so that its line does not wrap.
 */
export function natsLines(paint: Paint, { connections, roles }: NatsListing, cut: boolean) {
  const places = new Map(connections.map((id, at) => [id, at + 1]));
  const several = connections.length > 1;
  const roleWidth = Math.min(widestRole, Math.max(4, ...roles.map((role) => role.length)));

  const place = (connection: string | undefined): string => {
    if (connection === undefined) return "";
    if (!places.has(connection)) places.set(connection, places.size + 1);
    return `c${places.get(connection)}`;
  };
  const line = (
    time: string,
    connection: string,
    { what, number = "", bytes = "", role = "", text }: Cells,
  ): string => {
    const cells = [
      time.padEnd(timeWidth),
      ...(several ? [connection.padEnd(3)] : []),
      what.padEnd(whatWidth),
      number.padStart(numberWidth),
      bytes.padStart(bytesWidth),
      role.padEnd(roleWidth),
    ];
    const whole = printable(`${cells.join("  ")}  ${text}`);
    return cut && whole.length > lineWidth ? `${whole.slice(0, lineWidth - 1)}…` : whole;
  };
  const indent = timeWidth + 2 + (several ? 5 : 0) + whatWidth + 2;
  const below = (text: string): readonly string[] =>
    wrap(printable(text), lineWidth - indent).map((part) => `${" ".repeat(indent)}${part}`);

  return {
    head: (): string =>
      `${paint("dim", line("TIME", "", { what: "WHAT", number: "NUMBER", bytes: "BYTES", role: "ROLE", text: "SUBJECT" }))}\n`,
    row: (row: NatsRow): string => {
      const cells = cellsOf(row);
      const { colour, more = [] } = cells;
      const said = isSaid(cells) ? sentence(row, cells) : [line(clock(row.time), place(row.connection), cells)];
      const lines = [
        ...said.map((text) => (colour === undefined ? text : paint(colour, text))),
        ...more.flatMap(({ text, colour: tone }) =>
          below(text).map((part) => (tone === undefined ? part : paint(tone, part))),
        ),
      ];
      return lines.map((text) => `${text}\n`).join("");
    },
  };

  /** Rows without bytes and role have the whole width for what they say. */
  function sentence(row: NatsRow, { what, text }: Cells): readonly string[] {
    const start = [
      clock(row.time).padEnd(timeWidth),
      ...(several ? [place(row.connection).padEnd(3)] : []),
      what.padEnd(whatWidth),
    ].join("  ");
    return below(text).map((part, at) => (at === 0 ? `${start}  ${part.slice(indent)}` : part));
  }
}

const isSaid = ({ bytes, role }: Cells): boolean => bytes === undefined && role === undefined;

function cellsOf(row: NatsRow): Cells {
  switch (row.type) {
    case "published":
      return publishedCells(row);
    case "delivered":
      return { what: "recv", bytes: sizes(row), role: "", text: `${row.subject}${replyText(row.reply)}` };
    case "delivered_count":
      return {
        what: "recv",
        bytes: String(row.bytes),
        role: "",
        text: `${row.subject} ×${thousands(row.messages)}`,
      };
    case "subscribed":
      return {
        what: "sub",
        number: sidText(row.sid),
        bytes: "",
        role: row.role,
        text: `${row.subject}${queueText(row.queue)}`,
      };
    case "unsubscribed":
      return { what: "unsub", number: sidText(row.sid), bytes: "", role: "", text: maxText(row.max) };
    case "denied":
      return deniedCells(row);
    case "connected":
      return connectedCells(row);
    case "disconnected":
      return disconnectedCells(row);
    case "missing":
      return {
        what: "MISSING",
        colour: "red",
        text: `${numbers(row.first, row.last)}: no record here; look for audit.gap`,
      };
    case "mismatch":
      return {
        what: "DIFFERS",
        colour: "red",
        text: `the server counted ${totalsText(row.server)}; the gateway ${totalsText(row.gateway)}`,
      };
    case "refused":
      return { what: "refused", colour: "red", text: `${row.code}: ${row.detail}` };
    case "session_ended":
      return { what: "end", colour: "bold", text: `the session ended: ${row.reason.replaceAll("_", " ")}` };
  }
}

function connectedCells(row: RowOf<"connected">): Cells {
  const { gateway, target, account, from, client, records, roles, mode } = row;
  const name = client?.name === undefined ? "" : ` "${client.name}"`;
  const software = client?.lang === undefined ? "" : `, ${client.lang} ${client.version ?? ""}${name}`;
  const how = mode === "direct" ? "direct: its messages have no records" : records;
  return {
    what: "connect",
    colour: "bold",
    text: `${row.connection ?? ""} at ${gateway} to ${target} (account ${account})`,
    more: [
      { text: `from ${from ?? "an unknown address"}${software}; ${how}; roles ${roles.join(", ") || "none"}` },
      { text: `cid ${row.cid} of nats-server ${row.server_version}` },
      { text: row.server_id },
    ],
  };
}

function disconnectedCells(row: RowOf<"disconnected">): Cells {
  const { reason, detail, denied, recorded, published, server, server_agrees } = row;
  const lost = recorded !== undefined && !sameCount(recorded, published);
  const records = lost
    ? { text: `its records have ${countText(recorded)} published`, colour: "red" as const }
    : { text: recorded === undefined ? "read in part only" : "every message published has its record" };
  const counted =
    server === undefined
      ? { text: "the server's own counts are not known" }
      : server_agrees === true
        ? { text: "the server counted the same" }
        : { text: `the server counted ${totalsText(server)}`, colour: "red" as const };
  return {
    what: "close",
    colour: "bold",
    // The detail says what the reason says, and more.
    text: `${detail ?? reason.replaceAll("_", " ")}; ${totalsText(row)}, ${thousands(denied)} denied`,
    more: [records, counted],
  };
}

function deniedCells({ operation, outcome, reason, rule }: RowOf<"denied">): Cells {
  const [verb = "", ...object] = operation.split(" ");
  const refused = outcome === "deny";
  return {
    what: refused ? "DENIED" : "observed",
    bytes: "",
    role: rule ?? "",
    colour: refused ? "red" : "yellow",
    text: `${verb} ${object.join(" ")}  ${reason}${refused ? "" : ", let through"}`,
  };
}

/** A run is told by its first number and how many they are. */
function publishedCells(row: RowOf<"published">): Cells {
  const { number, last = number, role, subject, reply } = row;
  const many = last === number ? "" : ` ×${thousands(last - number + 1)}`;
  const text = `${subject}${many}${replyText(reply)}`;
  return { what: "pub", number: String(number), bytes: sizes(row), role, text };
}

const replyText = (reply: string | undefined): string => (reply === undefined ? "" : `  reply ${reply}`);
const queueText = (queue: string | undefined): string => (queue === undefined ? "" : `  queue ${queue}`);
const sidText = (sid: string): string => `sid ${sid.slice(0, 20)}`;
const maxText = (max: number | undefined): string => (max === undefined ? "" : `after ${count(max, "message")}`);

/** `93+128`, or without headers `128`. */
function sizes({ headers, payload }: { readonly headers: number; readonly payload: number }): string {
  return headers === 0 ? String(payload) : `${headers}+${payload}`;
}

/** `message 7`, `messages 7 to 2,000`. */
function numbers(first: number, last: number): string {
  return first === last ? `message ${thousands(first)}` : `messages ${thousands(first)} to ${thousands(last)}`;
}

export function totalsText({ published, delivered }: NatsTotals): string {
  return `${countText(published)} published, ${countText(delivered)} delivered`;
}

function countText({ messages, bytes }: NatsCount): string {
  return `${thousands(messages)} (${thousands(bytes)} bytes)`;
}

export const thousands = (value: number): string => value.toLocaleString("en-US");

/** `09:30:13.020`, UTC. */
const clock = (time: string): string => time.slice(11, 23);
