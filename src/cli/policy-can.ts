import type { Closest, Decision } from "../core/decision.ts";
import type { PolicyModel } from "../policy/model.ts";
import { type CliCommand, jsonOption, printJson } from "./command.ts";
import { askOf, askOptions, imaginedFacts, imaginedJob } from "./policy-ask.ts";
import { compilePolicy, policyOptions, policyPath } from "./policy-source.ts";
import { labelled, painter } from "./terminal.ts";

export const policyCan: CliCommand = {
  path: ["policy", "can"],
  summary: "decide one request of an imagined job, as the broker would",
  details: ["Exit status 0 where it is allowed, 3 where it is not."],
  args: [{ spec: "<request...>", doc: "as in a policy's tests: POST billing /v1/releases" }],
  options: [
    ...askOptions,
    { spec: "--policy <path>", doc: "policy file or folder (default: `policy` of the configuration)" },
    ...policyOptions,
    jsonOption,
  ],
  examples: [
    "policy can --as project=acme/shop --as ref=main GET billing /v1/invoices/42",
    "policy can --as project=acme/shop --with change.merged=true POST billing /v1/releases",
  ],
  async run(io, input) {
    const path = await policyPath(io, input, input.text("policy"));
    const [{ policy, model, vocabulary }, { can }] = await Promise.all([
      compilePolicy(io, input, path),
      import("../policy/can.ts"),
    ]);
    const now = io.now();
    const decision = can(policy, imaginedJob(input, vocabulary), imaginedFacts(input, now), askOf(input.args), now);
    const allowed = decision.effect === "allow";
    if (input.flag("json")) {
      printJson(io, decision);
      return allowed ? 0 : 3;
    }
    const paint = painter(io, io.stdout);
    const lines = decisionLines(decision, model);
    io.stdout.write(
      `${paint(allowed ? "green" : "red", decision.effect)}  ${input.args.join(" ")}\n${labelled(paint, lines)}`,
    );
    return allowed ? 0 : 3;
  },
};

function decisionLines({ reason, rule, closest, missing, mode }: Decision, model: PolicyModel) {
  const role = model.roles.find(({ id }) => id === rule);
  const ruleText = role === undefined ? rule : `${rule} (${role.place.file}:${role.place.line})`;
  return [
    { label: "reason", text: reason.replaceAll("_", " ") },
    ...(ruleText === undefined ? [] : [{ label: "rule", text: ruleText }]),
    ...(closest === undefined ? [] : closestLines(closest)),
    ...(missing === undefined ? [] : [{ label: "missing", text: `${missing}; give it with --with ${missing}=…` }]),
    ...(mode === "observe" ? [{ label: "mode", text: "observe: recorded, and let through all the same" }] : []),
  ];
}

function closestLines({ role, file, line, met, of, failed, found }: Closest) {
  return [
    { label: "closest", text: `role ${role} (${file}:${line}), ${met} of ${of} parts hold` },
    { label: "failed", text: found === undefined ? failed : `${failed} (found ${found})` },
  ];
}
