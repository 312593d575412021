import type { SessionSummary } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { connectOperator, queryOf } from "./operator.ts";
import { painter, printable, table } from "./terminal.ts";

export const sessionList: CliCommand = {
  path: ["session", "list"],
  summary: "list sessions, newest first",
  options: [
    { spec: "--state <state>", doc: "active, suspended or ended (default: all)" },
    { spec: "--project <project>", doc: "path or id of a project" },
    { spec: "--limit <n>", doc: "at most so many (default: 50)" },
    ...operatorOptions,
    jsonOption,
  ],
  examples: ["session list", "session list --state active --project acme/shop --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const query = queryOf({ state: input.text("state"), project: input.text("project"), limit: input.text("limit") });
      const { sessions } = await operator.get<{ sessions: readonly SessionSummary[] }>(`/v1/sessions${query}`);
      if (input.flag("json")) printJson(io, { sessions });
      else if (sessions.length === 0) io.stdout.write("no sessions\n");
      else
        io.stdout.write(
          table(painter(io, io.stdout), ["session", "state", "opened", "project", "job", "roles"], sessions.map(row)),
        );
      return 0;
    } finally {
      await operator.close();
    }
  },
};

function row({ id, state, end_reason, opened_at, identity, roles }: SessionSummary): readonly string[] {
  const what = state === "ended" && end_reason !== undefined ? end_reason : state;
  const job = `${identity.job.name ?? ""}#${identity.job.id}`;
  return [id, what, opened_at.slice(0, 19), identity.project.path, job, roles.join(",")].map(printable);
}
