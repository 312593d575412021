import { type CliCommand, jsonOption, printJson } from "./command.ts";
import { testFailures } from "./policy-check.ts";
import {
  compilePolicy,
  policyArgument,
  policyOptions,
  policyPath,
  printDiagnostics,
  readPolicy,
} from "./policy-source.ts";

export const policyTest: CliCommand = {
  path: ["policy", "test"],
  summary: "run a policy's tests and list them",
  args: [policyArgument],
  options: [...policyOptions, jsonOption],
  examples: ["policy test", "policy test policy/shop.yaml"],
  async run(io, input) {
    const path = await policyPath(io, input, input.args[0]);
    const { model } = await compilePolicy(io, input, path);
    const { files, issuers } = await readPolicy(io, input, path);
    const diagnostics = await testFailures(model, issuers);
    // A failure stands at the test's own place or at one of its lines.
    const failed = model.tests.map((test, at) => {
      const next = model.tests[at + 1]?.place;
      return diagnostics.some(
        ({ place }) =>
          place.file === test.place.file &&
          place.line >= test.place.line &&
          (next === undefined || next.file !== place.file || place.line < next.line),
      );
    });
    if (input.flag("json")) {
      const tests = model.tests.map(({ name }, at) => ({ name, passed: failed[at] !== true }));
      printJson(io, { ok: diagnostics.length === 0, tests, diagnostics });
    } else {
      for (const [at, { name }] of model.tests.entries()) io.stdout.write(`${failed[at] ? "FAIL" : "pass"}  ${name}\n`);
      await printDiagnostics(io, { diagnostics, files });
      const passed = failed.filter((each) => !each).length;
      io.stdout.write(`${passed} passed, ${model.tests.length - passed} failed\n`);
    }
    return diagnostics.length === 0 ? 0 : 2;
  },
};
