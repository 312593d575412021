import type { PinChange, PolicyDiff } from "../policy/diff.ts";
import type { DiffRow } from "../policy/diff-rows.ts";
import { count, lineWidth, type Paint, printable, wrap } from "./terminal.ts";

/** A diff as people read it: two lists of rows, and pins that changed. */
export interface DiffReport {
  readonly old: string;
  readonly new: string;
  readonly gains: readonly DiffRow[];
  readonly losses: readonly DiffRow[];
  readonly unpinned: PolicyDiff["unpinned"];
  readonly pinned: PolicyDiff["pinned"];
}

function isEmptyDiff({ gains, losses, unpinned, pinned }: DiffReport): boolean {
  return gains.length + losses.length + unpinned.length + pinned.length === 0;
}

interface Side {
  readonly title: string;
  readonly sign: string;
  readonly style: "red" | "green" | "yellow";
  readonly rows: readonly DiffRow[];
  readonly pins: readonly PinChange[];
}

/** Gains first: they are what a reviewer must see. */
const sidesOf = (report: DiffReport): readonly Side[] => [
  { title: "gains", sign: "+", style: "yellow", rows: report.gains, pins: report.unpinned },
  { title: "loses", sign: "-", style: "green", rows: report.losses, pins: [] },
];

/** Rows under the jobs they are about, at most 100 columns wide. */
export function diffText(report: DiffReport, paint: Paint): string {
  if (isEmptyDiff(report)) return `policy ${report.old} → ${report.new}: nobody gains or loses anything\n`;
  const lines = [`policy ${report.old} → ${report.new}`];
  for (const side of sidesOf(report)) lines.push(...sideLines(side, paint));
  for (const pin of newlyPinned(report)) lines.push("", `pinned: ${pin.path} to ${pin.from}`);
  return `${lines.join("\n")}\n`;
}

function sideLines({ title, sign, style, rows, pins }: Side, paint: Paint): readonly string[] {
  if (rows.length + pins.length === 0) return [];
  const groups = Map.groupBy(rows, (row) => [...row.who, ...notesOf(row, title)].join("\n"));
  const listed = [...groups.values()].flatMap((own) => [
    ...own
      .slice(0, 1)
      .flatMap((first) => [
        ...first.who.map((who) => `  ${printable(who)}`),
        ...noteLines(first, title).map((note) => `  ${paint("dim", note)}`),
      ]),
    ...own.flatMap((row) => rowLines(row, paint(style, row.how === "wider" ? "~" : sign))),
  ]);
  return ["", paint("bold", title), ...listed, ...pins.map((pin) => `  ${paint(style, sign)} ${pinText(pin)}`)];
}

const indent = "      ";

function rowLines({ what }: DiffRow, sign: string): readonly string[] {
  const [first = "", ...more] = wrap(printable(what), lineWidth - indent.length);
  return [`    ${sign} ${first}`, ...more.map((line) => `${indent}${line}`)];
}

const noteLines = (row: DiffRow, title: string): readonly string[] =>
  notesOf(row, title).flatMap((note) => wrap(printable(note), lineWidth - 2));

/** A condition's change reads from the older policy to the newer one, whichever side the row is on. */
function notesOf({ terms, was, from, denies }: DiffRow, title: string): readonly string[] {
  const said = (list: readonly string[]) => (list.length === 0 ? "no strings" : list.join(", "));
  const [before, after] = title === "gains" ? [was, terms] : [terms, was];
  const change = was === undefined ? terms.join(", ") : `${said(before ?? [])} → ${said(after ?? [])}`;
  const place = (word: string, list: DiffRow["from"]) =>
    list.map(({ id, place: { file, line } }) => `${word} ${id} (${file}:${line})`).join(", ");
  const gone = title === "gains" ? "no longer denied by" : "now denied by";
  return [
    ...(change === "" ? [] : [change]),
    ...(denies.length === 0 ? [] : [place(gone, denies)]),
    ...(from.length === 0 ? [] : [place("role", from)]),
  ];
}

function pinText({ path, from, to }: PinChange): string {
  return to === undefined ? `${path} is no longer pinned to ${from}` : `${path} now means id ${to}, not ${from}`;
}

/** Pins that only shut others out; a changed one is among the gains already. */
function newlyPinned({ pinned, unpinned }: DiffReport): readonly PinChange[] {
  return pinned.filter(({ path }) => !unpinned.some((other) => other.path === path));
}

const mostRows = 100;

/** For a merge request's note: a table each for who gains and who loses. */
export function diffMarkdown(report: DiffReport): string {
  const head = `**Wayleave policy** \`${report.old}\` → \`${report.new}\`: `;
  if (isEmptyDiff(report)) return `${head}nobody gains or loses anything.\n`;
  const counts = `${count(report.gains.length + report.unpinned.length, "gain")}, ${report.losses.length} lost.`;
  const tables = sidesOf(report)
    .filter(({ rows, pins }) => rows.length + pins.length > 0)
    .map(({ title, rows, pins }) => {
      const lines = rows.slice(0, mostRows).map((row) => {
        const how = row.how === "wider" ? " (other terms)" : "";
        return `| ${row.who.map(cell).join("<br>")} | ${code(row.what)}${how} | ${notesOf(row, title).map(cell).join("<br>")} |`;
      });
      const more = rows.length > mostRows ? [`\n${rows.length - mostRows} more are left out here.`] : [];
      const heading = title === "gains" ? "Gains" : "Loses";
      const table = ["| Who | What | How |", "|---|---|---|", ...lines];
      return [
        `### ${heading}`,
        "",
        ...(lines.length > 0 ? table : []),
        ...more,
        ...pins.map((pin) => `- ${cell(pinText(pin))}`),
      ].join("\n");
    });
  const pinned = newlyPinned(report).map(({ path, from }) => `- ${cell(`${path} is pinned to ${from}`)}`);
  return `${[head + counts, ...tables, ...(pinned.length > 0 ? [pinned.join("\n")] : [])].join("\n\n")}\n`;
}

/** Nothing a policy holds may be markup: names come from branches that anybody may push. */
function cell(text: string): string {
  return printable(text)
    .replaceAll(/[\\`*_{}[\]<>()#|~!@&$]/g, (sign) => `&#${sign.codePointAt(0)};`)
    .replaceAll(/https?:/g, (scheme) => scheme.replace(":", "&#58;"));
}

function code(text: string): string {
  return `<code>${cell(text)}</code>`;
}
