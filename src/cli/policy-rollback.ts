import type { RolloutResponse } from "../api/contract.ts";
import type { CliCommand } from "./command.ts";
import { rolloutOptions, runVerb } from "./policy-rollout-text.ts";

export const policyRollback: CliCommand = {
  path: ["policy", "rollback"],
  summary: "put an earlier policy back in force for every job, and end a canary",
  details: [
    "Without a version: the one before. It is checked and tested again first. The files are set aside for as long as they say " +
      "what they say now; a candidate stays beside it, and decides nothing.",
  ],
  args: [{ spec: "[version]", doc: "a kept version, or 6 or more characters of it: see `policy list`" }],
  options: rolloutOptions,
  examples: ["policy rollback", "policy rollback 9f0a77b1c2d3"],
  async run(io, input) {
    const version = input.args[0];
    return runVerb(
      io,
      input,
      (operator) => operator.post<RolloutResponse>("/v1/policy/rollback", version === undefined ? {} : { version }),
      ({ active }) => `policy ${active.version} is in force for every job again`,
    );
  },
};
