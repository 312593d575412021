import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { compile } from "./compile.ts";
import { parsePolicy } from "./parse.ts";
import { runTests } from "./run-tests.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const docs = new URL("../../docs/", import.meta.url);
const pages = ["guides/", "reference/"].flatMap((folder) =>
  readdirSync(new URL(folder, docs)).map((name) => `${folder}${name}`),
);
/** Whole policies with tests of their own, wherever a page shows one. */
const policies = pages.flatMap((page) => {
  const blocks = readFileSync(new URL(page, docs), "utf8").matchAll(/```yaml\n(version: 1\n[^`]*\ntests:\n[^`]*)```/g);
  return [...blocks].map(([, text = ""], at) => ({ shown: `${page}, ${at + 1}`, text }));
});

test("pages show whole policies", () => {
  expect(policies.length).toBeGreaterThan(2);
});

test.each(policies)("the policy in $shown loads without a word, and passes its own tests", ({ text }) => {
  const { model, diagnostics } = parsePolicy({ files: [{ name: "p.yaml", text }], vocabulary: fakeVocabulary });
  expect(diagnostics).toEqual([]);
  if (!model) throw new TypeError("it loads");
  expect(model.tests.length).toBeGreaterThan(0);
  expect(runTests(compile(model, fakeVocabulary), model)).toEqual([]);
});
