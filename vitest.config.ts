import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";

// What tests leave behind lies in one folder, which goes with the run. This file is read once for each project.
if (process.env.WAYLEAVE_TEST_FOLDER === undefined) {
  const folder = mkdtempSync(join(tmpdir(), "wl-"));
  process.env.WAYLEAVE_TEST_FOLDER = folder;
  process.env.TMPDIR = folder;
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
}

const architecture = "test/architecture.test.ts";

/** Suites that measure how long something takes: they run alone. All others mostly wait, so four of them share a small machine. */
const timed = [
  "test/{mesh-end,mesh-rotation,mesh-streams,key-rotation,jobs-lease,envoy-check,events-outage,nats-crash,demo-nats,proxy-ends}.test.ts",
];
const slow = { testTimeout: 60_000, hookTimeout: 60_000 };

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
          // Properties with hundreds of policies take seconds where the machine is busy.
          testTimeout: 20_000,
          maxWorkers: "100%",
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "system",
          include: ["test/**/*.test.ts"],
          exclude: [architecture, ...timed],
          maxWorkers: 4,
          sequence: { groupOrder: 2 },
          ...slow,
        },
      },
      {
        extends: true,
        test: { name: "timed", include: timed, fileParallelism: false, sequence: { groupOrder: 3 }, ...slow },
      },
    ],
  },
});
