import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { dataSchemas } from "../src/audit/record-schema.ts";
import { allCommands } from "../src/cli/commands.ts";
import { policyJsonSchema } from "../src/policy/schema.ts";
import { generatedFiles } from "./generated-files.ts";

const files = await generatedFiles();
const pageOf = (name: string) => files.find(({ path }) => path.endsWith(`/${name}`))?.text ?? "";

test("there is something to generate", () => {
  expect(files.length).toBeGreaterThan(3);
});

test.each(files)("$path is what the code says; `npm run generate` makes it so", ({ path, text }) => {
  expect(readFileSync(new URL(`../${path}`, import.meta.url), "utf8")).toBe(text);
});

test("the command reference names every command", async () => {
  const page = pageOf("cli.md");
  for (const { path } of await allCommands()) expect(page).toContain(`\n## ${path.join(" ")}\n`);
});

test("the record reference names every kind, and says when each is written", () => {
  const page = pageOf("records.md");
  const untold = Object.keys(dataSchemas).filter((kind) => !new RegExp(`\n### ${kind}\n\n\\S.{10,}\n`).test(page));
  expect(untold).toEqual([]);
});

test("the policy reference has a row for every key that a policy file takes", () => {
  const keys: string[] = [];
  JSON.stringify(policyJsonSchema(), (_key, value) => {
    keys.push(...Object.keys(value?.properties ?? {}));
    return value;
  });
  const rows = pageOf("policy.md").matchAll(/^\| `(?:[^`]*\.)?(\w+)(?:\[\])?` /gm);
  const known = new Set([...rows].map(([, key]) => key));
  expect(keys.length).toBeGreaterThan(60);
  expect(keys.filter((key) => !known.has(key))).toEqual([]);
});
