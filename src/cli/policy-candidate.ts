import type { PolicyTextsRequest, RolloutResponse } from "../api/contract.ts";
import { WayleaveError } from "../core/errors.ts";
import type { CliCommand, Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { testFailures } from "./policy-check.ts";
import { rolloutOptions, runVerb } from "./policy-rollout-text.ts";
import { printDiagnostics, readPolicy } from "./policy-source.ts";
import { count } from "./terminal.ts";

export const policyCandidate: CliCommand = {
  path: ["policy", "candidate"],
  summary: "try a policy beside the one in force: both decide each request, and where they differ is recorded",
  details: [
    "The candidate changes no answer until `policy canary` or `policy promote`. One that has errors, or whose own tests fail, is " +
      "not taken; what was the candidate before it stays. It is a whole policy: a file, or a folder with its lock file.",
  ],
  args: [{ spec: "[path]", doc: "policy file or folder" }],
  options: [{ spec: "--withdraw", doc: "have no candidate any more" }, ...rolloutOptions],
  examples: ["policy candidate policy-next/", "policy candidate --withdraw"],
  async run(io, input) {
    const path = input.args[0];
    if (input.flag("withdraw") === (path !== undefined)) {
      throw new WayleaveError("invalid_request", "Say which policy to try, or --withdraw, one of the two.");
    }
    if (path === undefined) {
      const ask = "/v1/policy/candidate/withdraw";
      return runVerb(
        io,
        input,
        (operator) => operator.post<RolloutResponse>(ask, {}),
        () => "the candidate is withdrawn",
      );
    }
    const texts = await checkedTexts(io, input, path);
    if (texts === undefined) return 2;
    return runVerb(
      io,
      input,
      (operator) => operator.post<RolloutResponse>("/v1/policy/candidate", texts),
      ({ candidate }) => `policy ${candidate?.version ?? ""} is tried beside the one in force, and decides nothing`,
    );
  },
};

/** The texts as the broker would read them; undefined after printing what is wrong with them. */
async function checkedTexts(io: CommandIo, input: Input, path: string): Promise<PolicyTextsRequest | undefined> {
  const [read, { readPolicyFiles }] = await Promise.all([
    readPolicy(io, input, path),
    import("../config/policy-files.ts"),
  ]);
  const failures = read.model === undefined ? [] : await testFailures(read.model, read.issuers);
  const diagnostics = [...read.diagnostics, ...failures].filter(({ severity }) => severity === "error");
  if (diagnostics.length === 0) return readPolicyFiles(path);
  await printDiagnostics(io, { diagnostics, files: read.files });
  io.stderr.write(`wayleave: ${count(diagnostics.length, "error")} in ${path}; it is no candidate\n`);
  return undefined;
}
