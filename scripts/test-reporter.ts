import type { Reporter, TestCase, TestModule, Vitest } from "vitest/node";

export interface Count {
  readonly passed: number;
  readonly failed: number;
  /** Full name of each test that did not run, with the note it gave. */
  readonly skipped: readonly string[];
}

/** Ends every run with `N passed, N failed, N skipped`, alone on the last line, and with the exit code that fits it. */
export default class ClosingLine implements Reporter {
  #filtered = false;

  onInit(vitest: Vitest): void {
    this.#filtered = vitest.config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const result = count(modules, errors.length);
    // Tests left out by `-t` were left out on purpose: their number says enough.
    process.stdout.write(`${closing(result, !this.#filtered).join("\n")}\n`);
    if (result.failed > 0 || result.passed === 0) process.exitCode = 1;
  }
}

/**
 * What a run came to, so that nothing that went wrong is counted as nothing: a file that cannot be loaded, a hook
 * that throws and an error outside any test are failures too, and a test that never finished is a skipped one.
 */
export function count(modules: readonly TestModule[], unhandledErrors: number): Count {
  const tests = modules.flatMap((module) => [...module.children.allTests()]);
  const around = modules.flatMap((module) => [module, ...module.children.allSuites()]);
  const state = (test: TestCase) => test.result().state;
  return {
    passed: tests.filter((test) => state(test) === "passed").length,
    failed:
      tests.filter((test) => state(test) === "failed").length +
      around.filter((suite) => suite.errors().length > 0).length +
      unhandledErrors,
    skipped: tests.filter((test) => state(test) === "skipped" || state(test) === "pending").map(name),
  };
}

function name(test: TestCase): string {
  const result = test.result();
  const note = result.state === "skipped" ? result.note : "did not finish";
  return `${test.module.relativeModuleId} > ${test.fullName}${note ? ` (${note})` : ""}`;
}

/** The run's last lines: each skipped test by name, why a run without tests fails, then the one line of figures. */
export function closing({ passed, failed, skipped }: Count, nameSkipped: boolean): string[] {
  const names = nameSkipped ? skipped.map((test) => `skipped: ${test}`) : [];
  const nothing = passed + failed === 0 ? ["No test ran, and a run that saw nothing proves nothing."] : [];
  return [...names, ...nothing, `${passed} passed, ${failed} failed, ${skipped.length} skipped`];
}
