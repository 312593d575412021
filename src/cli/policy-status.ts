import type { RolloutResponse } from "../api/contract.ts";
import { type CliCommand, printJson } from "./command.ts";
import { connectOperator } from "./operator.ts";
import { disagreementTable, rolloutLines, rolloutOptions } from "./policy-rollout-text.ts";
import { painter, printable } from "./terminal.ts";

export const policyStatus: CliCommand = {
  path: ["policy", "status"],
  summary: "show the policy in force, the candidate beside it, and where the two differ",
  details: [
    "`because` is why the policy that refuses does so, `role` is of the one that allows. Each counted request has a record: " +
      "`wayleave audit list --kind decision`, member `beside`.",
  ],
  options: rolloutOptions,
  examples: ["policy status", "policy status --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const found = await operator.get<RolloutResponse>("/v1/policy");
      if (input.flag("json")) {
        printJson(io, found);
        return 0;
      }
      const paint = painter(io, io.stdout);
      const now = io.now();
      const rows = disagreementTable(paint, found, now);
      const head = paint("bold", printable(`policy ${found.active.version}`));
      io.stdout.write(`${head}\n${rolloutLines(paint, found, now)}${rows === "" ? "" : `\n${rows}`}`);
      return 0;
    } finally {
      await operator.close();
    }
  },
};
