import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { compile } from "./compile.ts";
import { parsePolicy } from "./parse.ts";
import { runTests } from "./run-tests.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

test("the policy that the reference shows loads without a word, and passes its own tests", () => {
  const page = readFileSync(new URL("../../docs/reference/policy-nats.md", import.meta.url), "utf8");
  const [, text = ""] = /```yaml\n([^`]*)```/.exec(page) ?? [];
  const { model, diagnostics } = parsePolicy({ files: [{ name: "p.yaml", text }], vocabulary: fakeVocabulary });
  expect(diagnostics).toEqual([]);
  if (!model) throw new TypeError("it loads");
  expect(model.tests.length).toBeGreaterThan(1);
  expect(runTests(compile(model, fakeVocabulary), model)).toEqual([]);
});
