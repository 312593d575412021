import { lineWidth, type Paint, printable, wrap } from "./terminal.ts";

/** One node of the tree: what happened on one line with its time and record, and what is known of it below. */
export interface StoryRow {
  readonly label: string;
  readonly text: string;
  readonly at?: number;
  readonly record?: string | undefined;
  readonly details?: readonly string[];
  readonly red?: boolean;
}

const labelWidth = 11;
const indent = 3 + labelWidth;

/** The node as lines of the tree. */
export function rowText(paint: Paint, row: StoryRow, last: boolean): string {
  const branch = row.label === "" ? "│  " : last ? "└─ " : "├─ ";
  const below = `${last ? "   " : "│  "}${" ".repeat(labelWidth)}`;
  const right = [
    ...(row.at === undefined ? [] : [time(row.at)]),
    ...(row.record === undefined ? [] : [row.record]),
  ].join("  ");
  const room = lineWidth - indent - (right === "" ? 0 : right.length + 2);
  const [first = "", ...more] = wrap(printable(row.text), room).map((line) => cutTo(line, room));
  const colour = (text: string) => (row.red ? paint("red", text) : text);
  const head = `${branch}${colour(row.label.padEnd(labelWidth))}${colour(right === "" ? first : `${first.padEnd(room)}  `)}${paint("dim", right)}`;
  const lines = [...more, ...(row.details ?? []).flatMap((detail) => wrap(printable(detail), lineWidth - indent))];
  return [head, ...lines.map((line) => `${below}${paint("dim", cutTo(line, lineWidth - indent))}`)]
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

/** A path may be longer than a line; the record has all of it. */
function cutTo(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}…` : text;
}

/** `09:30:13.020`, UTC. */
export const time = (at: number): string => new Date(at).toISOString().slice(11, 23);
/** The beginning of a long id. */
export const short = (text: string): string => (text.length > 12 ? `${text.slice(0, 8)}…` : text);
export const duration = (ms: number): string => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);
