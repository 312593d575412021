import type { RolloutResponse } from "../api/contract.ts";
import { WayleaveError } from "../core/errors.ts";
import type { CliCommand } from "./command.ts";
import { meantBody, meantOption, rolloutOptions, runVerb } from "./policy-rollout-text.ts";

export const policyCanary: CliCommand = {
  path: ["policy", "canary"],
  summary: "let the candidate decide for the sessions of some projects",
  details: [
    "Replaces the canary there was. Records of its sessions say `canary`, and what the policy in force would have said where it " +
      "differs. A share is chosen by a hash of the project: the same projects each time, and a larger share holds each smaller one.",
  ],
  options: [
    { spec: "--project <project>", doc: "path or id, exactly", repeats: true },
    { spec: "--share <percent>", doc: "percent of all other projects" },
    { spec: "--off", doc: "for nobody any more" },
    meantOption,
    ...rolloutOptions,
  ],
  examples: ["policy canary --project acme/shop", "policy canary --share 10", "policy canary --off"],
  async run(io, input) {
    const projects = input.list("project");
    const share = input.text("share");
    const off = input.flag("off");
    if (off === (projects.length > 0 || share !== undefined)) {
      throw new WayleaveError("invalid_request", "Say --project or --share, or --off, and not both.");
    }
    const percent = share === undefined ? 0 : Number(share);
    if (!Number.isFinite(percent) || percent < 0 || percent > 100) {
      throw new WayleaveError("invalid_request", `--share is a number from 0 to 100, not ${JSON.stringify(share)}.`);
    }
    const body = { projects, share: percent, ...meantBody(input) };
    return runVerb(
      io,
      input,
      (operator) => operator.post<RolloutResponse>("/v1/policy/canary", body),
      ({ candidate }) =>
        `candidate ${candidate?.version ?? ""} ${off ? "decides for nobody any more" : "decides for its canary now"}`,
    );
  },
};
