import { defineConfig } from "vitest/config";

const architecture = "test/architecture.test.ts";

export default defineConfig({
  test: {
    // Node 22 still warns about node:sqlite; the warning is known and would bury the results.
    execArgv: ["--disable-warning=ExperimentalWarning"],
    reporters: [["default", { summary: false }], "./scripts/test-reporter.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["{src,demo,scripts,bench}/**/*.test.ts", architecture],
          maxWorkers: "100%",
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "system",
          include: ["test/**/*.test.ts"],
          exclude: [architecture],
          // Real servers on real sockets: one file at a time, after the unit tests, with time to start.
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
