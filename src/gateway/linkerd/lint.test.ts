import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { lintLinkerd } from "./lint.ts";

const folder = new URL("testdata/lint/", import.meta.url);
const names = readdirSync(folder);
const lint = (text: string) => lintLinkerd([{ file: "mesh.yaml", text }]);
const inputOf = (name: string) => readFileSync(new URL(name, folder), "utf8").split("----------\n");
const codeOf = (name: string) => name.split(".")[0] ?? "";

/** One finding as a golden line: severity, code, where, and the text that is underlined. */
function golden(text: string): string {
  return lint(text)
    .map(({ severity, code, place }) => {
      const line = text.split("\n")[place.line - 1] ?? "";
      return `${severity} ${code} ${place.line}:${place.column} ${line.slice(place.column - 1, place.column - 1 + place.length)}\n`;
    })
    .join("");
}

test("there are goldens", () => {
  expect(names.length).toBeGreaterThan(12);
});

test.each(names)("%s", (name) => {
  const [input = "", expected] = inputOf(name);
  expect(golden(input)).toBe(expected);
  if (name.includes(".good.")) expect(expected).toBe("");
  else expect(expected).toContain(` ${codeOf(name)} `);
});

test("the guide's table and the codes with a failing example are the same", () => {
  const guide = readFileSync(new URL("../../../docs/guides/mesh.md", import.meta.url), "utf8");
  const section = guide.split("\n## Linkerd")[1]?.split("\n## ")[0] ?? "";
  const written = section.split("\n").flatMap((line) => /^\| `([a-z_]+)` \|/.exec(line)?.[1] ?? []);
  const shown = names.filter((name) => name.includes(".bad.")).map(codeOf);
  expect(written.toSorted()).toEqual([...new Set(shown)].toSorted());
});

test("every finding says what is wrong and what to do", () => {
  const found = names.flatMap((name) => lint(inputOf(name)[0] ?? ""));
  expect(found.filter(({ help, message }) => !help || message.length < 20)).toEqual([]);
});

test.each([
  "",
  "[]",
  "kind: Server",
  "kind: AuthorizationPolicy\napiVersion: policy.linkerd.io/v1alpha1\nspec: 3",
  "{",
  "kind: HTTPRoute\nspec: { parentRefs: [1, null] }",
])("%j does not make it throw", (text) => {
  expect(() => lint(text)).not.toThrow();
});
