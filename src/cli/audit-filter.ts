import type { AuditRecord } from "../core/record.ts";
import type { CliWord, Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { queryOf } from "./operator.ts";
import { lineWidth, painter, printable } from "./terminal.ts";

const names = ["session", "job", "project", "target", "kind", "effect", "gateway"] as const;

export const filterOptions: readonly CliWord[] = [
  { spec: "--session <id>", doc: "of this session" },
  { spec: "--job <id>", doc: "of this CI job" },
  { spec: "--project <project>", doc: "of this project, by path or id" },
  { spec: "--target <name>", doc: "decisions about this target" },
  { spec: "--kind <kind>", doc: "records of this kind: decision, session.opened, …" },
  { spec: "--effect <effect>", doc: "decisions that say allow, or deny" },
  { spec: "--gateway <name>", doc: "decisions for this gateway" },
];

/** Query of the filters that were given, with `more`. */
export function filterQuery(input: Input, more: Readonly<Record<string, string | undefined>> = {}): string {
  return queryOf({ ...Object.fromEntries(names.map((name) => [name, input.text(name)])), ...more });
}

/** One record on one line, cut to the width of a terminal where there is one. */
export function recordLine(io: Pick<CommandIo, "env" | "stdout">, record: AuditRecord): string {
  const who = record.job === undefined ? "" : `  ${record.job.project} #${record.job.job_id}`;
  const line = printable(`${record.time}  ${record.id}  ${what(record)}${who}`);
  const shown = io.stdout.isTTY && line.length > lineWidth ? `${line.slice(0, lineWidth - 1)}…` : line;
  const refused = record.kind === "decision" && record.data.outcome !== "allow";
  return `${refused ? painter(io, io.stdout)("red", shown) : shown}\n`;
}

function what(record: AuditRecord): string {
  switch (record.kind) {
    case "decision": {
      const { outcome, target, operation, reason } = record.data;
      const [verb = "", ...rest] = operation.split(" ");
      const why = outcome === "allow" ? (record.data.rule ?? "") : reason;
      return `${outcome.replace("_", " ")}  ${[verb, target, ...rest].join(" ")}  ${why}`;
    }
    case "session.ended":
    case "session.suspended":
    case "session.resumed":
      return `${record.kind}  ${record.session ?? ""}  ${record.data.reason}`;
    case "session.opened":
      return `${record.kind}  ${record.session ?? ""}  ${record.data.roles.join(",")}`;
    case "exchange.refused":
      return `${record.kind}  ${record.data.code}`;
    default:
      return record.session === undefined ? record.kind : `${record.kind}  ${record.session}`;
  }
}
