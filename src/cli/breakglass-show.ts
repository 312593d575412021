import type { SignedRequest } from "../gateway/breakglass/request.ts";
import type { CommandIo } from "./command-io.ts";
import { labelled, painter, printable } from "./terminal.ts";

/** A request as people read it before they sign. */
export function requestText(io: Pick<CommandIo, "env" | "stderr">, { request, signatures }: SignedRequest): string {
  const paint = painter(io, io.stderr);
  const { id, broker, gateways, targets, reason, starts_at, ends_at } = request;
  const at = (seconds: number) => new Date(seconds * 1000).toISOString();
  const signed = signatures.map(({ by }) => by).join(" and ");
  const rows = [
    { label: "opens", text: `${targets.join(", ")}: every method and path` },
    { label: "at", text: `${gateways.join(", ")}, while ${broker} is away` },
    { label: "from", text: `${at(starts_at)} until ${at(ends_at)}` },
    { label: "because", text: reason },
    { label: "signed by", text: signed || "nobody yet" },
  ].map(({ label, text }) => ({ label, text: printable(text) }));
  return `${paint("red", `break-glass ${id}`)}\n${labelled(paint, rows)}`;
}
