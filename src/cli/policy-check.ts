import type { PolicyModel } from "../policy/model.ts";
import { type CliCommand, jsonOption, printJson } from "./command.ts";
import {
  policyArgument,
  policyOptions,
  policyPath,
  printDiagnostics,
  type ReadPolicy,
  readPolicy,
} from "./policy-source.ts";
import { count } from "./terminal.ts";

export const policyCheck: CliCommand = {
  path: ["policy", "check"],
  summary: "check a policy and run its tests, as the broker does before it loads one",
  args: [policyArgument],
  options: [...policyOptions, jsonOption],
  examples: ["policy check", "policy check policy/shop.yaml --json"],
  async run(io, input) {
    const path = await policyPath(io, input, input.args[0]);
    const read = await readPolicy(io, input, path);
    const { model } = read;
    const failures = model === undefined ? [] : await testFailures(model, read.issuers);
    const diagnostics = [...read.diagnostics, ...failures];
    const errors = diagnostics.filter(({ severity }) => severity === "error").length;
    if (input.flag("json")) {
      printJson(io, { ok: errors === 0, version: model?.version ?? null, diagnostics });
      return errors === 0 ? 0 : 2;
    }
    await printDiagnostics(io, { diagnostics, files: read.files });
    if (errors > 0) io.stderr.write(`wayleave: ${count(errors, "error")} in ${path}\n`);
    else if (model !== undefined) {
      const { targets, roles, deny, tests, version } = model;
      const counts = `${count(targets.length, "target")}, ${count(roles.length, "role")}, ${deny.length} deny, ${count(tests.length, "test")} passed`;
      io.stdout.write(`policy ${version} is valid: ${counts}\n`);
    }
    return errors === 0 ? 0 : 2;
  },
};

/** What the policy's own tests find, as diagnostics. */
export async function testFailures(model: PolicyModel, issuers: ReadPolicy["issuers"]) {
  const [{ compile }, { runTests }, { vocabulary }] = await Promise.all([
    import("../policy/compile.ts"),
    import("../policy/run-tests.ts"),
    import("../ci/providers.ts"),
  ]);
  return runTests(compile(model, vocabulary), model, new Map(issuers.map(({ name, type }) => [name, type])));
}
