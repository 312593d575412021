import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { commands } from "../src/cli/commands.ts";
import { generatedFiles } from "./generated-files.ts";

const files = generatedFiles();

test("there is something to generate", () => {
  expect(files.length).toBeGreaterThan(3);
});

test.each(files)("$path is what the code says; `npm run generate` makes it so", ({ path, text }) => {
  expect(readFileSync(new URL(`../${path}`, import.meta.url), "utf8")).toBe(text);
});

test("the command reference names every command", () => {
  const page = files.find(({ path }) => path.endsWith("cli.md"))?.text;
  for (const { path } of commands) expect(page).toContain(`\n## ${path.join(" ")}\n`);
});
