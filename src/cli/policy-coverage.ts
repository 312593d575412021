import type { RoleCoverage } from "../rollout/coverage.ts";
import type { ReplayReport } from "../rollout/replay.ts";
import { thousands } from "./audit-nats-text.ts";
import { type CliCommand, printJson } from "./command.ts";
import { compilePolicy, policyPath } from "./policy-source.ts";
import { recordedOptions, replayRecorded } from "./recorded-day.ts";
import { count, labelled, type Paint, painter, printable, table } from "./terminal.ts";

export const policyCoverage: CliCommand = {
  path: ["policy", "coverage"],
  summary: "show who would break under a policy, and which of its roles and operations nobody uses",
  details: [
    "From recorded requests, each decided by the policy: a role is used where it would allow one, an operation where it covers " +
      "what a role allowed. A role for a rare job is unused in a short time: look at enough of it with --since.",
    "Exit status 0 where nobody would break, 3 otherwise.",
  ],
  args: [{ spec: "[path]", doc: "policy file or folder (default: `policy` of the configuration)" }],
  options: recordedOptions,
  examples: ["policy coverage --since 30d", "policy coverage policy-next/ --json"],
  async run(io, input) {
    const path = await policyPath(io, input, input.args[0]);
    const { policy, model, vocabulary } = await compilePolicy(io, input, path);
    const { Coverage } = await import("../rollout/coverage.ts");
    const coverage = new Coverage(model, vocabulary);
    const replay = await replayRecorded(io, input, policy, (replayed) => coverage.see(replayed));
    const report = replay.report();
    const roles = coverage.report();
    const breaks = report.groups.filter(({ effect }) => effect === "newly_denied");
    if (input.flag("json")) {
      const { requests, effects, first, last } = report;
      printJson(io, { policy: policy.version, requests, effects, first, last, breaks, roles });
    } else io.stdout.write(coverageText(painter(io, io.stdout), policy.version, report, roles));
    return breaks.length === 0 ? 0 : 3;
  },
};

/** Who breaks, then what nobody uses, then how much the rest is used. */
function coverageText(paint: Paint, version: string, report: ReplayReport, roles: readonly RoleCoverage[]): string {
  const { requests, first = "", last = "", effects } = report;
  if (requests === 0) return `${paint("bold", `policy ${version}: no request is recorded in that time`)}\n`;
  const unused = roles.filter((role) => role.requests === 0);
  const used = roles.filter((role) => role.requests > 0);
  const idle = used.flatMap(({ role, file, operations }) =>
    operations.filter((operation) => operation.requests === 0).map((operation) => ({ role, file, ...operation })),
  );
  const broken = breaksRows(report);
  const head = `policy ${version}: ${used.length} of ${count(roles.length, "role")} used by ${thousands(requests)} requests, ${first.slice(0, 16)} to ${last.slice(0, 16)} UTC`;
  const parts = [
    `${paint(broken.length > 0 ? "red" : "green", printable(head))}\n${labelled(paint, summary(broken.length, effects, unused.length, idle.length))}`,
    table(paint, ["would break", "requests", "target", "role", "for example", "because"], broken),
    table(
      paint,
      ["unused role", "where"],
      unused.map(({ role, file, line }) => [role, `${file}:${line}`].map(printable)),
    ),
    table(
      paint,
      ["unused operation", "of role", "where"],
      idle.map(({ role, file, target, operation, line }) =>
        [`${target} ${operation}`, role, `${file}:${line}`].map(printable),
      ),
    ),
    table(
      paint,
      ["role", "requests", "projects", "last used"],
      used
        .toSorted((a, b) => b.requests - a.requests)
        .map(({ role, requests: n, projects, last: at = "" }) =>
          [role, thousands(n), thousands(projects), at.slice(0, 16).replace("T", " ")].map(printable),
        ),
    ),
  ];
  return parts.filter((part) => part !== "").join("\n");
}

const shownGroups = 40;

function breaksRows({ groups }: ReplayReport): readonly (readonly string[])[] {
  return groups
    .filter(({ effect }) => effect === "newly_denied")
    .slice(0, shownGroups)
    .map(({ project, count: n, target, role, because, example }) =>
      [project || "-", thousands(n), target, role || "-", example, because].map(printable),
    );
}

function summary(groups: number, effects: ReplayReport["effects"], unused: number, idle: number) {
  return [
    {
      label: "breaks",
      text:
        groups === 0
          ? "nobody"
          : `${thousands(effects.newly_denied)} requests; \`policy replay\` says what else changes`,
    },
    ...(effects.unknown > 0
      ? [
          {
            label: "unknown",
            text: `${thousands(effects.unknown)} requests cannot be judged; \`policy replay\` says why`,
          },
        ]
      : []),
    { label: "unused", text: `${count(unused, "role")}, and ${count(idle, "operation")} of roles that are used` },
  ];
}
