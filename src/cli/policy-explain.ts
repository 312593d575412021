import type { OperationModel, RoleModel } from "../policy/model.ts";
import { type CliCommand, jsonOption, printJson } from "./command.ts";
import { askOptions, imaginedJob } from "./policy-ask.ts";
import { compilePolicy, policyOptions, policyPath } from "./policy-source.ts";
import { labelled, painter } from "./terminal.ts";

export const policyExplain: CliCommand = {
  path: ["policy", "explain"],
  summary: "list what an imagined job may do, and on which conditions",
  options: [
    ...askOptions.slice(0, 1),
    { spec: "--policy <path>", doc: "policy file or folder (default: `policy` of the configuration)" },
    ...policyOptions,
    jsonOption,
  ],
  examples: ["policy explain --as project=acme/shop --as ref=main --as ref_protected=true"],
  async run(io, input) {
    const path = await policyPath(io, input, input.text("policy"));
    const { policy, model, vocabulary } = await compilePolicy(io, input, path);
    const job = imaginedJob(input, vocabulary);
    const matched = new Set(policy.rolesFor(job).map(({ id }) => id));
    const roles = model.roles.filter(({ id }) => matched.has(id));
    const facts = policy.factsFor(job);
    if (input.flag("json")) {
      printJson(io, { roles: roles.map(summary), facts });
      return 0;
    }
    const paint = painter(io, io.stdout);
    if (roles.length === 0) {
      io.stdout.write("no role is for this job: it gets no session\n");
      return 0;
    }
    for (const role of roles) {
      const { place, when, limit } = role;
      io.stdout.write(`${paint("bold", `role ${role.name}`)}  ${place.file}:${place.line}\n`);
      io.stdout.write(
        labelled(paint, [
          ...Object.entries(role.allow).map(([target, operations]) => ({
            label: target,
            text: operations.map(sourceOf).join(", "),
          })),
          ...(when === undefined ? [] : [{ label: "when", text: when.source }]),
          ...(limit === undefined
            ? []
            : [{ label: "limit", text: `${limit.max} in ${limit.windowMs / 1000} s, per ${limit.per}` }]),
        ]),
      );
    }
    if (facts.length > 0) io.stdout.write(`facts it depends on: ${facts.join(", ")}\n`);
    return 0;
  },
};

function summary(role: RoleModel) {
  const allow = Object.fromEntries(
    Object.entries(role.allow).map(([target, operations]) => [target, operations.map(sourceOf)]),
  );
  return {
    id: role.id,
    name: role.name,
    file: role.place.file,
    line: role.place.line,
    allow,
    when: role.when?.source ?? null,
  };
}

function sourceOf(operation: OperationModel): string {
  return operation.kind === "verb" ? operation.verb : operation.pattern.source;
}
