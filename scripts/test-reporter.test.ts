import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Reporter } from "vitest/node";
import { createVitest } from "vitest/node";
import type { Count } from "./test-reporter.ts";
import { closing, count } from "./test-reporter.ts";

describe("the closing lines", () => {
  test.each([
    { result: { passed: 3, failed: 0, skipped: [] }, last: "3 passed, 0 failed, 0 skipped", lines: 1 },
    { result: { passed: 1, failed: 2, skipped: ["a > b"] }, last: "1 passed, 2 failed, 1 skipped", lines: 2 },
    { result: { passed: 0, failed: 0, skipped: ["a > b"] }, last: "0 passed, 0 failed, 1 skipped", lines: 3 },
    { result: { passed: 0, failed: 0, skipped: [] }, last: "0 passed, 0 failed, 0 skipped", lines: 2 },
  ])("end with $last", ({ result, last, lines }) => {
    expect(closing(result, true).at(-1)).toBe(last);
    expect(closing(result, true)).toHaveLength(lines);
  });

  test("name each skipped test before the figures", () => {
    const result = { passed: 1, failed: 0, skipped: ["x.test.ts > needs nginx (no nginx here)"] };
    expect(closing(result, true)[0]).toBe("skipped: x.test.ts > needs nginx (no nginx here)");
  });

  test("leave out the names when a filter skipped the tests", () => {
    expect(closing({ passed: 1, failed: 0, skipped: ["a", "b"] }, false)).toEqual(["1 passed, 0 failed, 2 skipped"]);
  });
});

describe("what counts as what", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "wayleave-reporter-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  /** Runs one test file by real vitest in a folder of its own, and counts it. */
  async function run(body: string): Promise<Count> {
    const entry = fileURLToPath(import.meta.resolve("vitest"));
    writeFileSync(
      join(folder, "x.test.mjs"),
      `import { test, describe, beforeAll } from ${JSON.stringify(entry)};\n${body}`,
    );
    let result: Count | undefined;
    const counter = {
      onTestRunEnd: (...[modules, errors]: Parameters<NonNullable<Reporter["onTestRunEnd"]>>) => {
        result = count(modules, errors.length);
      },
    };
    const exitCode = process.exitCode;
    const vitest = await createVitest("test", { root: folder, config: false, watch: false, reporters: [counter] });
    await vitest.start();
    await vitest.close();
    process.exitCode = exitCode;
    if (!result) throw new Error("The inner run never ended.");
    return result;
  }

  test.each([
    { what: "a passing test", body: 'test("a", () => {});', passed: 1, failed: 0, skipped: [] },
    { what: "a failing test", body: 'test("a", () => { throw new Error("no"); });', passed: 0, failed: 1, skipped: [] },
    { what: "a file that cannot be loaded", body: 'throw new Error("no");', passed: 0, failed: 1, skipped: [] },
    { what: "a file without tests", body: "", passed: 0, failed: 1, skipped: [] },
    {
      what: "a skipped test, by its full name",
      body: 'test("a", () => {}); describe("s", () => { test.skip("b", () => {}); });',
      passed: 1,
      failed: 0,
      skipped: ["x.test.mjs > s > b"],
    },
    {
      what: "a test that skips itself, with its note",
      body: 'test("a", (t) => t.skip("no nginx"));',
      passed: 0,
      failed: 0,
      skipped: ["x.test.mjs > a (no nginx)"],
    },
    {
      what: "a hook that throws, beside the tests it kept from running",
      body: 'describe("s", () => { beforeAll(() => { throw new Error("no"); }); test("a", () => {}); });',
      passed: 0,
      failed: 1,
      skipped: ["x.test.mjs > s > a"],
    },
    {
      what: "an error outside any test",
      body: 'test("a", () => { Promise.reject(new Error("no")); });',
      passed: 1,
      failed: 1,
      skipped: [],
    },
  ])("$what", async ({ body, passed, failed, skipped }) => {
    expect(await run(body)).toEqual({ passed, failed, skipped });
  });
});
