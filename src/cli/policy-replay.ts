import type { ReplayEffect, ReplayReport } from "../rollout/replay.ts";
import { thousands } from "./audit-nats-text.ts";
import { type CliCommand, printJson } from "./command.ts";
import { effectWords } from "./policy-rollout-text.ts";
import { compilePolicy, policyPath } from "./policy-source.ts";
import { recordedOptions, replayRecorded } from "./recorded-day.ts";
import { count, labelled, type Paint, painter, printable, table } from "./terminal.ts";

export const policyReplay: CliCommand = {
  path: ["policy", "replay"],
  summary: "put recorded requests to a draft: what would newly be denied, newly be allowed, and what cannot be known",
  details: [
    "Each request is decided again with the job's claims and the facts its records tell of. A refusal that hangs on a fact nobody " +
      "asked for then cannot be known, and is counted as such. Limits are counted as the draft has them, from the first record on. " +
      "What native gateways decided by themselves has no decision record and is not replayed.",
    "Exit status 0 where nothing is newly denied and nothing unknown, 3 otherwise.",
  ],
  args: [{ spec: "[draft]", doc: "policy file or folder (default: `policy` of the configuration)" }],
  options: recordedOptions,
  examples: ["policy replay policy-next/ --since 7d", "policy replay policy-next/ --from records.jsonl --json"],
  async run(io, input) {
    const path = await policyPath(io, input, input.args[0]);
    const { policy } = await compilePolicy(io, input, path);
    const replay = await replayRecorded(io, input, policy);
    const report = replay.report();
    if (input.flag("json")) printJson(io, { policy: policy.version, ...report });
    else io.stdout.write(replayText(painter(io, io.stdout), policy.version, report));
    return report.effects.newly_denied + report.effects.unknown === 0 ? 0 : 3;
  },
};

/** The verdict on one line, then the counts, then what changes. */
function replayText(paint: Paint, version: string, report: ReplayReport): string {
  const { effects, requests, without_role: withoutRole, ungrouped } = report;
  if (requests === 0) return `${paint("bold", `policy ${version}: no request is recorded in that time`)}\n`;
  const colour = effects.newly_denied > 0 ? "red" : effects.unknown > 0 ? "yellow" : "green";
  const rows = report.groups
    .slice(0, shownGroups)
    .map(({ effect, project, target, role, because, count: n, example }) =>
      [words[effect], thousands(n), project || "-", target, role || "-", example, because].map(printable),
    );
  const more = report.groups.length - rows.length + (ungrouped > 0 ? 1 : 0);
  const notes = [
    ...(more > 0 ? [{ label: "more", text: "not all groups are shown; --json has them" }] : []),
    ...(withoutRole > 0
      ? [
          {
            label: "exchanges",
            text: `${count(withoutRole, "exchange")} found no role; who they were for is not recorded, so they are not replayed`,
          },
        ]
      : []),
  ];
  const head = ["effect", "requests", "project", "target", "role", "for example", "because"];
  return (
    `${paint(colour, printable(verdict(version, report)))}\n` +
    labelled(paint, [...countLines(report), ...notes]) +
    (rows.length === 0 ? "" : `\n${table(paint, head, rows)}`)
  );
}

const shownGroups = 40;
const words: Readonly<Record<ReplayEffect, string>> = { unchanged: "unchanged", unknown: "unknown", ...effectWords };

function verdict(version: string, { effects, requests, first = "", last = "" }: ReplayReport): string {
  const what =
    effects.newly_denied > 0
      ? `would break ${thousands(effects.newly_denied)} of ${thousands(requests)} requests`
      : effects.unknown > 0
        ? `breaks no request that can be judged; ${thousands(effects.unknown)} of ${thousands(requests)} cannot`
        : `breaks none of ${thousands(requests)} requests`;
  return `policy ${version} ${what}, ${first.slice(0, 16)} to ${last.slice(0, 16)} UTC`;
}

function countLines({ effects, requests }: ReplayReport) {
  const share = (n: number): string => `${((100 * n) / requests).toFixed(n * 1000 < requests && n > 0 ? 2 : 1)} %`;
  return (Object.keys(effects) as ReplayEffect[])
    .filter((effect) => effects[effect] > 0)
    .map((effect) => ({ label: labels[effect], text: `${thousands(effects[effect])}  (${share(effects[effect])})` }));
}

const labels: Readonly<Record<ReplayEffect, string>> = {
  unchanged: "unchanged",
  newly_denied: "denied",
  newly_allowed: "allowed",
  passes_differently: "otherwise",
  unknown: "unknown",
};
