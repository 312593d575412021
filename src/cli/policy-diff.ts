import { type CliCommand, jsonOption, oneOf, printJson } from "./command.ts";
import { type DiffReport, diffMarkdown, diffText } from "./policy-diff-text.ts";
import { compilePolicy, policyOptions, policyPath } from "./policy-source.ts";
import { painter } from "./terminal.ts";

const gates = ["gains", "losses", "any"] as const;
const formats = ["text", "markdown"] as const;

export const policyDiff: CliCommand = {
  path: ["policy", "diff"],
  summary: "say who gains and who loses what between two policies",
  details: [
    "Policies are compared by what they mean: other names, another order, or a rule that another one gives already are no " +
      "difference. A policy is a file, a folder, or git:REVISION (git:REVISION:path), read from Git without checking it out.",
    "With --fail-on the exit status is 3 where there is such a difference: a gate for merge requests. Exit status 2 means " +
      "that one of the policies has errors.",
  ],
  args: [
    { spec: "<old>", doc: "the policy to compare with" },
    { spec: "[new]", doc: "the policy that is to replace it (default: `policy` of the configuration, or ./policy)" },
  ],
  options: [
    { spec: "--fail-on <what>", doc: `exit with status 3 on ${gates.join(", ")}` },
    { spec: "--format <format>", doc: "text, or markdown for a merge request's note (default: text)" },
    ...policyOptions,
    jsonOption,
  ],
  examples: [
    "policy diff git:origin/main",
    "policy diff git:origin/main policy --format markdown --fail-on gains",
    "policy diff old/policy.yaml new/policy.yaml --json",
  ],
  async run(io, input) {
    const gate = oneOf(input, "failOn", "fail-on", gates);
    const format = oneOf(input, "format", "format", formats) ?? "text";
    const [{ diffPolicies }, { diffRows }] = await Promise.all([
      import("../policy/diff.ts"),
      import("../policy/diff-rows.ts"),
    ]);
    const path = await policyPath(io, input, input.args[1]);
    const before = await compilePolicy(io, input, input.args[0] ?? "");
    const after = await compilePolicy(io, input, path);
    const types = new Map(after.issuers.map(({ name, type }) => [name, type]));
    const diff = diffPolicies(before.model, after.model, { types, vocabulary: after.vocabulary });
    const report: DiffReport = {
      old: before.model.version,
      new: after.model.version,
      gains: diffRows(diff.gains, after.model),
      losses: diffRows(diff.losses, before.model),
      unpinned: diff.unpinned,
      pinned: diff.pinned,
    };
    if (input.flag("json")) printJson(io, report);
    else io.stdout.write(format === "markdown" ? diffMarkdown(report) : diffText(report, painter(io, io.stdout)));
    return gate !== undefined && isClosed(gate, report) ? 3 : 0;
  },
};

function isClosed(gate: (typeof gates)[number], { gains, losses, unpinned, pinned }: DiffReport): boolean {
  if (gate !== "losses" && gains.length + unpinned.length > 0) return true;
  return gate !== "gains" && losses.length + pinned.length > 0;
}
