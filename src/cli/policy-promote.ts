import type { RolloutResponse } from "../api/contract.ts";
import type { CliCommand } from "./command.ts";
import { meantBody, meantOption, rolloutOptions, runVerb } from "./policy-rollout-text.ts";

export const policyPromote: CliCommand = {
  path: ["policy", "promote"],
  summary: "put the candidate in force for every job",
  details: [
    "What is in force then stays so across restarts, also while the files say what they said before: a reload finds them set " +
      "aside. As soon as the files say something else, that is the policy. A session that it grants nothing is suspended, and " +
      "ends after ten minutes.",
  ],
  options: [meantOption, ...rolloutOptions],
  examples: ["policy promote --version 41c0f2a9d3e1", "policy promote"],
  async run(io, input) {
    return runVerb(
      io,
      input,
      (operator) => operator.post<RolloutResponse>("/v1/policy/promote", meantBody(input)),
      ({ active }) => `policy ${active.version} is in force for every job`,
    );
  },
};
