import { labelled, type Paint, printable } from "./terminal.ts";

/** A message that has not started its pipeline, as the broker lists it. */
export interface ListedEvent {
  readonly key: string;
  readonly event: string;
  readonly state: "pending" | "started" | "refused" | "dead";
  readonly since: string;
  readonly subject: string;
  readonly code?: string;
  readonly detail?: string;
  readonly attempts: number;
  readonly uncertain: boolean;
  readonly job?: string;
  readonly pipeline?: string;
}

/** One message in full, with what to do about it. */
export function eventText(paint: Paint, event: ListedEvent): string {
  const { key, state, subject, code, detail, attempts, uncertain, job, pipeline } = event;
  const lines = [
    { label: "subject", text: subject },
    ...(job === undefined ? [] : [{ label: "from", text: job }]),
    ...(code === undefined ? [] : [{ label: "failed", text: `${code}  ${detail ?? ""}` }]),
    ...(attempts === 0 ? [] : [{ label: "attempts", text: String(attempts) }]),
    ...(uncertain ? [{ label: "note", text: "there may be a pipeline; a retry looks before it starts one" }] : []),
    ...(pipeline === undefined ? [] : [{ label: "pipeline", text: pipeline }]),
    ...(state === "started" ? [] : [{ label: "next", text: `wayleave events retry ${key}` }]),
  ];
  const shown = lines.map(({ label, text }) => ({ label, text: printable(text) }));
  return `${paint("bold", printable(event.event))}  ${state} since ${event.since.slice(0, 19)}\n${labelled(paint, shown)}`;
}
