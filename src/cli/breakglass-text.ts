import type { BreakglassInForce } from "../core/breakglass-record.ts";
import { labelled, type Paint, printable } from "./terminal.ts";

/** Broken glass, as every status output shows it; nothing where there is none. */
export function breakglassText(paint: Paint, inForce: readonly BreakglassInForce[]): string {
  if (inForce.length === 0) return "";
  const blocks = inForce.map(({ id, reason, targets, gateways, approvers, ends_at, uses }) =>
    labelled(paint, [
      { label: "opens", text: printable(`${targets.join(", ")} at ${gateways.join(", ")}, until ${ends_at}`) },
      { label: "signed by", text: printable(approvers.join(" and ")) },
      { label: "because", text: printable(reason) },
      { label: "used", text: `${uses} times; wayleave audit list --kind breakglass.used (${id})` },
    ]),
  );
  return blocks.map((block) => `\n${paint("red", "BREAK-GLASS IN FORCE")}\n${block}`).join("");
}
