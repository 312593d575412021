import type { PolicyListResponse } from "../api/contract.ts";
import { type CliCommand, printJson } from "./command.ts";
import { clockTime } from "./key-text.ts";
import { connectOperator } from "./operator.ts";
import { rolloutOptions } from "./policy-rollout-text.ts";
import { painter, printable, table } from "./terminal.ts";

export const policyList: CliCommand = {
  path: ["policy", "list"],
  summary: "list the policies that are kept and can be rolled back to, newest first",
  options: rolloutOptions,
  examples: ["policy list", "policy list --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const answer = await operator.get<PolicyListResponse>("/v1/policies");
      if (input.flag("json")) printJson(io, answer);
      else {
        const rows = answer.policies.map((policy) => row(policy, io.now()));
        io.stdout.write(table(painter(io, io.stdout), ["version", "state", "kept", "history"], rows));
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};

function row(policy: PolicyListResponse["policies"][number], now: number): readonly string[] {
  const { version, kept_at, active, candidate, on_disk: onDisk, came, left } = policy;
  const states = [active && "in force", candidate && "candidate", onDisk && "on disk"].filter((word) => word !== false);
  const history = [
    ...(came === undefined ? [] : [`${came.how.replace("_", " ")} ${clockTime(came.at, now)}`]),
    ...(left === undefined || active ? [] : [`replaced by ${left.for} ${clockTime(left.at, now)}`]),
  ];
  return [version, states.join(", ") || "-", clockTime(kept_at, now), history.join("; ") || "-"].map(printable);
}
