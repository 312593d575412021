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
  "test/{mesh-end,mesh-rotation,mesh-streams,key-rotation,jobs-lease,envoy-check,events-outage,nats-crash,demo-nats}.test.ts",
/** Long suites that measure no time and share nothing: they run side by side, one more than a small machine has cores, since they mostly wait. */
const sideBySide = [
  "test/*hostile*.test.ts",
  "test/envoy-{discovery,guide,native,native-chain,sds}.test.ts",
  "test/{policy-agreement,policy-check,spiffe,spiffe-federation,workload-api}.test.ts",
  "test/nats-{accounts,render,render-live,wire,callout,callout-operator}.test.ts",
  "test/nats-gateway{,-attacks,-clients,-ends,-tls}.test.ts",
  "test/nats-{attacks,guide,million,modes,review,standalone}.test.ts",
  "test/nats-proof-*.test.ts",
  "test/{binding-attacks,binding-exec,oauth-client}.test.ts",
  "test/{audit-nats,doctor-nats,event-starters,events-config,events-nats,events-stack}.test.ts",
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
