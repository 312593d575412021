import { styleText } from "node:util";
import type { CommandIo, Output } from "./command-io.ts";

export const lineWidth = 100;

type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";
export type Paint = (style: Style, text: string) => string;

/** Colour for a terminal that wants it; plain text for pipes, files and NO_COLOR. */
export function painter(io: Pick<CommandIo, "env">, output: Output): Paint {
  const colours = output.isTTY === true && !io.env.NO_COLOR && io.env.TERM !== "dumb";
  return colours ? (style, text) => styleText(style, text, { validateStream: false }) : (_, text) => text;
}

/** Text broken at spaces, so that no line is longer than `width`; a longer word stays whole. */
export function wrap(text: string, width: number): readonly string[] {
  if (text.length <= width && !text.includes("\n")) return [text];
  const lines: string[] = [];
  for (const word of text.split(/\s+/).filter((part) => part !== "")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** `  label      text`, wrapped under itself. */
export function labelled(paint: Paint, entries: readonly { readonly label: string; readonly text: string }[]): string {
  const indent = 13;
  return entries
    .flatMap(({ label, text }) =>
      wrap(text, lineWidth - indent).map((line, at) =>
        at === 0 ? `  ${paint("dim", label.padEnd(indent - 3))} ${line}\n` : `${" ".repeat(indent)}${line}\n`,
      ),
    )
    .join("");
}

/** Columns as wide as their widest cell; the last one is cut so that no line wraps. Empty text for no rows. */
export function table(paint: Paint, head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "";
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map((row) => (row[at] ?? "").length)));
  const line = (cells: readonly string[]): string => {
    const text = cells.map((cell, at) => (at === cells.length - 1 ? cell : cell.padEnd(widths[at] ?? 0))).join("  ");
    return text.length > lineWidth ? `${text.slice(0, lineWidth - 1)}…` : text.trimEnd();
  };
  return [paint("dim", line(head)), ...rows.map(line)].map((text) => `${text}\n`).join("");
}

/** Control characters made visible: what came over the network must not steer the terminal or the job log. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");
}

/** `1 key`, `3 keys`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}
