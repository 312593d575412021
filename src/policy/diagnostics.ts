import type { Diagnostic } from "./model.ts";

const width = 100;

export interface RenderOptions {
  readonly color: boolean;
}

/** Select Graphic Rendition: on and off. */
const styles = {
  bold: [1, 22],
  red: [31, 39],
  yellow: [33, 39],
  blue: [34, 39],
  cyan: [36, 39],
} as const;
type Style = keyof typeof styles;

/**
 * Diagnostics as text for a terminal, at most 100 columns wide, in the order given; empty text for none. `sources` are texts
 * by file name; a file that is not among them is named but not quoted. Nothing in it can reach the terminal as a control.
 */
export function renderDiagnostics(
  diagnostics: readonly Diagnostic[],
  sources: Readonly<Record<string, string>> | ReadonlyMap<string, string>,
  options: RenderOptions,
): string {
  const texts = sources instanceof Map ? sources : new Map(Object.entries(sources));
  const lines = new Map([...texts].map(([name, text]) => [name, text.split("\n")] as const));
  const paint = (style: Style, text: string) =>
    options.color ? `\u001b[${styles[style][0]}m${text}\u001b[${styles[style][1]}m` : text;
  return diagnostics.map((diagnostic) => render(diagnostic, lines.get(diagnostic.place.file), paint)).join("\n");
}

/** `3 errors, 1 warning`. */
export function summarizeDiagnostics(diagnostics: readonly Diagnostic[]): string {
  const count = (severity: Diagnostic["severity"]) => {
    const found = diagnostics.filter((diagnostic) => diagnostic.severity === severity).length;
    return `${found} ${severity}${found === 1 ? "" : "s"}`;
  };
  return `${count("error")}, ${count("warning")}`;
}

function render(
  diagnostic: Diagnostic,
  lines: readonly string[] | undefined,
  paint: (style: Style, text: string) => string,
): string {
  const { severity, code, message, place, help, note } = diagnostic;
  const color: Style = severity === "error" ? "red" : "yellow";
  const gutter = " ".repeat(String(place.line).length);
  const head = `${severity}[${code}]`;
  const [first = "", ...more] = wrap(clean(`${head}: ${message}`), 0, 2);
  const out = [
    paint(color, first.slice(0, head.length)) + paint("bold", first.slice(head.length)),
    ...more.map((line) => paint("bold", line)),
  ];
  out.push(`${gutter} ${paint("blue", "┌─")} ${clean(place.file)}:${place.line}:${place.column}`);
  out.push(
    ...quote(
      diagnostic,
      lines?.[place.line - 1],
      gutter,
      (text) => paint(color, text),
      (text) => paint("blue", text),
    ),
  );
  for (const [name, text] of [["help", help] as const, ["note", note] as const]) {
    if (text === undefined) continue;
    const [start = "", ...rest] = wrap(
      clean(`${name}: ${text}`),
      gutter.length + 1,
      gutter.length + 1 + name.length + 2,
    );
    out.push(start.replace(name, paint("cyan", name)), ...rest);
  }
  return `${out.join("\n")}\n`;
}

/** The source line, cropped around what is underlined, and the underline with its label. */
function quote(
  { place, label }: Diagnostic,
  line: string | undefined,
  gutter: string,
  mark: (text: string) => string,
  rule: (text: string) => string,
): string[] {
  if (line === undefined || line.trim() === "") return [];
  const characters = [...clean(line.replace(/\r$/, ""))];
  const from = Math.min(place.column - 1, characters.length);
  const room = width - gutter.length - 3;
  const { start, end } = crop(characters, from, Math.min(from + place.length, characters.length), room);
  const shown = (start > 0 ? "…" : "") + characters.slice(start, end).join("") + (end < characters.length ? "…" : "");
  const before = columns(characters.slice(start, from)) + (start > 0 ? 1 : 0);
  const marked = Math.max(1, columns(characters.slice(from, Math.min(from + place.length, end))));
  const out = [`${rule(`${place.line} │`)} ${shown}`];
  const underline = `${gutter} ${rule("│")} ${" ".repeat(before)}${mark("^".repeat(marked))}`;
  if (label === undefined) return [...out, underline];
  const text = clean(label);
  if (gutter.length + 3 + before + marked + 1 + columns([...text]) <= width)
    return [...out, `${underline} ${mark(text)}`];
  const prefix = `${gutter} ${rule("│")} `;
  return [...out, underline, ...wrap(text, 0, 0, room).map((one) => prefix + mark(one))];
}

/** The part of a line to show: its beginning where the mark is in it, else as much as fits up to a little behind the mark. */
function crop(characters: readonly string[], from: number, to: number, room: number): { start: number; end: number } {
  let start = 0;
  const needed = characters.slice(0, Math.min(to + 8, characters.length));
  let used = columns(needed);
  if (columns(characters) > room) {
    for (; used > room - 2 && start < from; start++) used -= columns(characters.slice(start, start + 1));
  }
  let end = start;
  used = start > 0 ? 1 : 0;
  for (; end < characters.length; end++) {
    const next = columns(characters.slice(end, end + 1));
    if (used + next + (end + 1 < characters.length ? 1 : 0) > room) break;
    used += next;
  }
  return { start, end };
}

/** Columns on a terminal: East Asian wide and emoji count two, combining marks none. */
function columns(characters: readonly string[]): number {
  let count = 0;
  for (const character of characters) {
    if (/^[\x20-\x7e]$/.test(character)) count++;
    else if (/^[\p{Mn}\p{Me}\p{Cf}]$/u.test(character)) count += 0;
    else
      count +=
        /^[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]$/u.test(
          character,
        )
          ? 2
          : 1;
  }
  return count;
}

/** Control and direction characters made visible, tabs one space: what a file holds must not move the reader's cursor. */
function clean(text: string): string {
  return text.replaceAll("\t", " ").replace(/[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, "�");
}

function wrap(text: string, indent: number, hanging: number, most = width): string[] {
  const out: string[] = [];
  let line = " ".repeat(indent);
  let empty = true;
  for (const word of text.split(" ").flatMap((one) => chunks(one))) {
    if (!empty && columns([...line]) + 1 + columns([...word]) > most) {
      out.push(line);
      line = " ".repeat(hanging);
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  return [...out, line];
}

/** A word that no line can hold, in pieces. */
function chunks(word: string): string[] {
  const longest = 80;
  if (word.length <= longest) return [word];
  const characters = [...word];
  return Array.from({ length: Math.ceil(characters.length / longest) }, (_, at) =>
    characters.slice(at * longest, (at + 1) * longest).join(""),
  );
}
