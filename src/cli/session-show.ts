import type { SessionSummary } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { connectOperator } from "./operator.ts";
import { labelled, type Paint, painter, printable } from "./terminal.ts";

export const sessionShow: CliCommand = {
  path: ["session", "show"],
  summary: "show one session",
  args: [{ spec: "<session>", doc: "a session id, or the id of its CI job" }],
  options: [...operatorOptions, jsonOption],
  examples: ["session show ses_0123456789abcdef", "session show 7712 --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const found = await operator.get<SessionSummary>(`/v1/sessions/${encodeURIComponent(input.args[0] ?? "")}`);
      if (input.flag("json")) printJson(io, found);
      else io.stdout.write(sessionText(painter(io, io.stdout), found));
      return 0;
    } finally {
      await operator.close();
    }
  },
};

/** One session as text. */
export function sessionText(paint: Paint, session: SessionSummary): string {
  const { identity, state, end_reason, suspend_reason, ended_at } = session;
  const why = end_reason ?? suspend_reason;
  const lines = [
    {
      label: "job",
      text: `${identity.project.path} ${identity.job.name ?? "job"} #${identity.job.id} (${identity.issuer})`,
    },
    {
      label: "pipeline",
      text: `${identity.pipelineId}${identity.ref === undefined ? "" : `, ${identity.refType ?? "ref"} ${identity.ref}`}`,
    },
    ...(identity.environment === undefined ? [] : [{ label: "env", text: identity.environment }]),
    ...(identity.triggeredBy === undefined
      ? []
      : [{ label: "person", text: identity.triggeredBy.login ?? identity.triggeredBy.id }]),
    { label: "fork", text: identity.fork },
    { label: "roles", text: session.roles.join(", ") || "none" },
    { label: "lease", text: session.lease },
    { label: "opened", text: session.opened_at },
    ended_at === undefined ? { label: "until", text: session.expires_at } : { label: "ended", text: ended_at },
  ];
  const head = `session ${session.id}  ${state}${why === undefined ? "" : ` (${why.replaceAll("_", " ")})`}`;
  return `${paint("bold", printable(head))}\n${labelled(
    paint,
    lines.map(({ label, text }) => ({ label, text: printable(text) })),
  )}`;
}
