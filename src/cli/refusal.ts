import type { ExplainResponse } from "../api/contract.ts";
import { labelled, lineWidth, type Paint, printable } from "./terminal.ts";

/** An explained record: title and record id on one line, then label and text. */
export function refusalText(paint: Paint, explained: Omit<ExplainResponse, "source">, prefix = "wayleave: "): string {
  const title = `${prefix}${printable(explained.title)}`;
  const record = printable(explained.record);
  const gap = " ".repeat(Math.max(2, lineWidth - 4 - title.length - record.length));
  const observed = explained.title.startsWith("would deny");
  const colour = observed ? "yellow" : explained.title.startsWith("denied") ? "red" : "bold";
  const lines = explained.lines.map(({ label, text }) => ({ label: printable(label), text: printable(text) }));
  if (observed) lines.unshift({ label: "observed", text: "it was let through; mode: enforce would have refused it" });
  if (!lines.some(({ label }) => label === "details") && prefix !== "") {
    lines.push({ label: "details", text: `wayleave explain ${record}` });
  }
  return `${paint(colour, title)}${gap}${paint("dim", record)}\n${labelled(paint, lines)}`;
}
