import type { BreakglassUse } from "../core/breakglass-record.ts";
import type { AuditRecord } from "../core/record.ts";
import { natsWords } from "./audit-nats-words.ts";
import { operatorWords } from "./audit-operator-words.ts";
import { policyWords } from "./audit-policy-words.ts";
import type { CliWord, Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { queryOf } from "./operator.ts";
import { lineWidth, painter, printable } from "./terminal.ts";

const names = ["session", "job", "project", "target", "kind", "effect", "gateway"] as const;

export const filterOptions: readonly CliWord[] = [
  { spec: "--session <id>", doc: "of this session" },
  { spec: "--job <id>", doc: "of this CI job" },
  { spec: "--project <project>", doc: "of this project, by path or id" },
  { spec: "--target <name>", doc: "decisions, requests and messages at this target" },
  { spec: "--kind <kind>", doc: "records of this kind: decision, session.opened, …" },
  { spec: "--effect <effect>", doc: "decisions that say allow, or deny" },
  { spec: "--gateway <name>", doc: "decisions, requests and messages at this gateway" },
];

/** Query of the filters that were given, with `more`. */
export function filterQuery(input: Input, more: Readonly<Record<string, string | undefined>> = {}): string {
  return queryOf({ ...Object.fromEntries(names.map((name) => [name, input.text(name)])), ...more });
}

/** One record on one line. On a terminal the time is short and the line is cut to its width: `audit show` has the rest. */
export function recordLine(io: Pick<CommandIo, "env" | "stdout">, record: AuditRecord): string {
  const paint = painter(io, io.stdout);
  const [kind, ...rest] = words(record);
  const who = record.job === undefined ? [] : [`${record.job.project} #${record.job.job_id}`];
  const time = io.stdout.isTTY ? record.time.slice(5, 19).replace("T", " ") : record.time;
  const text = printable([record.id, kind.padEnd(kindWidth), ...rest, ...who].join("  "));
  const room = lineWidth - time.length - 2;
  const shown = io.stdout.isTTY && text.length > room ? `${text.slice(0, room - 1)}…` : text.trimEnd();
  const outcome = record.kind === "decision" ? record.data.outcome : undefined;
  const colour = outcome === "deny" ? "red" : outcome === "would_deny" ? "yellow" : undefined;
  return `${paint("dim", time)}  ${colour === undefined ? shown : paint(colour, shown)}\n`;
}

/** Of `would deny`: decisions are what one reads, and they line up. */
const kindWidth = 10;

/** What kind of record, then what it says, in columns. */
function words(record: AuditRecord): readonly [kind: string, ...rest: readonly string[]] {
  switch (record.kind) {
    case "decision": {
      const { outcome, target, operation, reason } = record.data;
      const [verb = "", ...rest] = operation.split(" ");
      const why = outcome === "allow" ? (record.data.rule ?? "") : reason;
      return [outcome.replace("_", " "), [verb, target, ...rest].join(" "), why];
    }
    case "gateway.request": {
      const { gateway, method, path, status } = record.data;
      return ["request", `${method} ${path}`, `${status} at ${gateway}`];
    }
    case "svid.minted":
      return [record.kind, record.data.spiffe_id, record.data.serial ?? record.data.jti ?? ""];
    case "key.prepared":
    case "key.activated":
    case "key.retired":
    case "key.revoked":
    case "key.created":
      return [record.kind, record.data.class, record.data.kid.slice(0, 12)];
    case "gateway.reported":
      return [record.kind, record.data.gateway, record.data.accepted ? record.data.policy : "refused what it was sent"];
    case "session.ended":
    case "session.suspended":
    case "session.resumed":
      return [record.kind, record.session ?? "", record.data.reason];
    case "session.opened":
      return [record.kind, record.session ?? "", record.data.roles.join(",") || "no role"];
    case "exchange.refused":
    case "refresh.refused":
    case "webhook.refused":
      return [record.kind, record.data.code];
    case "breakglass.used":
      return [record.kind, ...breakglassWords(record.data)];
    case "gateway.refused":
    case "svid.refused":
      return [record.kind, record.data.code, record.data.gateway ?? ""];
    default:
      return (
        operatorWords(record) ??
        policyWords(record) ??
        natsWords(record) ??
        (record.session === undefined ? [record.kind] : [record.kind, record.session])
      );
  }
}

function breakglassWords({ outcome, operation, gateway, reason, approvers = [] }: BreakglassUse): readonly string[] {
  const who = outcome === "allow" ? `signed by ${approvers.join(" and ")}` : reason;
  return [`${outcome} ${operation}`, `at ${gateway}, ${who}`];
}
