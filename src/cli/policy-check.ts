import packageJson from "../../package.json" with { type: "json" };
import type { PolicyModel } from "../policy/model.ts";
import { type CliCommand, jsonOption, oneOf, printJson } from "./command.ts";
import {
  policyArgument,
  policyOptions,
  policyPath,
  printDiagnostics,
  type ReadPolicy,
  readPolicy,
} from "./policy-source.ts";
import { count } from "./terminal.ts";

const formats = ["text", "json", "sarif", "codequality"] as const;

export const policyCheck: CliCommand = {
  path: ["policy", "check"],
  summary: "check a policy and run its tests, as the broker does before it loads one",
  args: [policyArgument],
  options: [{ spec: "--format <format>", doc: `${formats.join(", ")} (default: text)` }, ...policyOptions, jsonOption],
  examples: [
    "policy check",
    "policy check policy/shop.yaml --json",
    "policy check --format codequality > gl-code-quality-report.json",
  ],
  async run(io, input) {
    const format = oneOf(input, "format", "format", formats) ?? (input.flag("json") ? "json" : "text");
    const path = await policyPath(io, input, input.args[0]);
    const read = await readPolicy(io, input, path);
    const { model } = read;
    const failures = model === undefined ? [] : await testFailures(model, read.issuers);
    const diagnostics = [...read.diagnostics, ...failures];
    const errors = diagnostics.filter(({ severity }) => severity === "error").length;
    if (format !== "text") {
      const data = { ok: errors === 0, version: model?.version ?? null, diagnostics };
      printJson(io, format === "json" ? data : await report(format, diagnostics, read.files));
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

/** As other tools take them. */
async function report(
  format: "sarif" | "codequality",
  diagnostics: ReadPolicy["diagnostics"],
  files: ReadPolicy["files"],
): Promise<unknown> {
  const sources = new Map(files.map(({ name, text }) => [name, text]));
  if (format === "codequality")
    return (await import("../policy/code-quality.ts")).codeQualityReport(diagnostics, sources);
  return (await import("../policy/sarif.ts")).sarifLog(diagnostics, sources, packageJson.version);
}

/** What the policy's own tests find, as diagnostics. */
export async function testFailures(model: PolicyModel, issuers: ReadPolicy["issuers"]) {
  const [{ compile }, { runTests }, { vocabulary }] = await Promise.all([
    import("../policy/compile.ts"),
    import("../policy/run-tests.ts"),
    import("../ci/providers.ts"),
  ]);
  return runTests(compile(model, vocabulary), model, new Map(issuers.map(({ name, type }) => [name, type])));
}
