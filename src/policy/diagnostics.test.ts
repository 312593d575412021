import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { renderDiagnostics, summarizeDiagnostics } from "./diagnostics.ts";
import type { Diagnostic } from "./model.ts";
import { parsePolicy } from "./parse.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const folder = new URL("testdata/diagnostics/", import.meta.url);
const goldens = readdirSync(folder);
const seen = { environment: ["production", "staging"] };

interface Golden {
  readonly files: readonly { name: string; text: string }[];
  readonly lock?: { name: string; text: string };
  readonly expected: string;
}

/** `input ---------- expected`; an input of several files heads each with `=== name`. */
function readGolden(name: string): Golden {
  const [input = "", expected = ""] = readFileSync(new URL(name, folder), "utf8").split("----------\n");
  const parts = input.startsWith("=== ") ? input.split(/^=== (.*)\n/m).slice(1) : ["policy.yaml", input];
  const all = Array.from({ length: parts.length / 2 }, (_, at) => ({
    name: parts[at * 2] ?? "",
    text: parts[at * 2 + 1] ?? "",
  }));
  const lock = all.find((file) => file.name.endsWith(".lock"));
  return { files: all.filter((file) => file !== lock), ...(lock ? { lock } : {}), expected };
}

function check({ files, lock }: Golden) {
  const { diagnostics, model } = parsePolicy({ files, ...(lock ? { lock } : {}), vocabulary: fakeVocabulary, seen });
  const sources = Object.fromEntries([...files, ...(lock ? [lock] : [])].map((file) => [file.name, file.text]));
  const text = renderDiagnostics(diagnostics, sources, { color: false });
  return { diagnostics, model, sources, text: `${text}${text ? "\n" : ""}${summarizeDiagnostics(diagnostics)}\n` };
}

test("there are goldens to hold the output against", () => expect(goldens.length).toBeGreaterThan(20));

describe.each(goldens)("golden: %s", (name) => {
  const golden = readGolden(name);
  const { diagnostics, model, text } = check(golden);

  test("prints what was agreed", () => expect(text).toBe(golden.expected));
  test("gives a model exactly where nothing is an error", () => {
    expect(model !== undefined).toBe(diagnostics.every((diagnostic) => diagnostic.severity === "warning"));
  });
  test("names a fix each time", () => {
    for (const diagnostic of diagnostics) expect(diagnostic.help, diagnostic.message).toBeTruthy();
  });
  test("has no line beyond 100 columns but file names", () => {
    for (const line of text.split("\n")) expect([...line].length).toBeLessThanOrEqual(100);
  });
  test("says the same with its files in another order", () => {
    const turned = check({ ...golden, files: golden.files.toReversed() });
    const codes = (list: readonly Diagnostic[]) => list.map((one) => one.code).sort();
    expect(codes(turned.diagnostics)).toEqual(codes(diagnostics));
  });
});

test("ten different mistakes are ten diagnostics of ten codes or places", () => {
  const { diagnostics } = check(readGolden("ten-mistakes.yaml"));
  expect(diagnostics).toHaveLength(10);
  expect(new Set(diagnostics.map((one) => one.code)).size).toBe(10);
  expect(new Set(diagnostics.map((one) => one.place.line)).size).toBe(10);
});

const sample: Diagnostic = {
  severity: "error",
  code: "who_unknown",
  message: 'no "depoy" under who',
  place: { file: "p.yaml", line: 2, column: 3, length: 5 },
  help: 'did you mean "deploy"?',
};

test("colour changes nothing but colour", () => {
  const sources = { "p.yaml": "one\n  depoy: x\n" };
  const plain = renderDiagnostics([sample], sources, { color: false });
  const colored = renderDiagnostics([sample], sources, { color: true });
  expect(colored).not.toBe(plain);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour is made of them
  expect(colored.replace(/\u001b\[\d+m/g, "")).toBe(plain);
});

test("a file that is not at hand is named and not quoted", () => {
  expect(renderDiagnostics([sample], {}, { color: false })).toBe(
    'error[who_unknown]: no "depoy" under who\n  ┌─ p.yaml:2:3\n  help: did you mean "deploy"?\n',
  );
});

test("no text in a diagnostic or a file reaches the terminal as a control", () => {
  const nasty = fc.string({
    unit: fc.constantFrom("a", "\u001b[2J", "\u0007", "\r", "\u202e", "\u009b", "界", "\t", " "),
  });
  fc.assert(
    fc.property(nasty, nasty, fc.nat(30), fc.integer({ min: 1, max: 30 }), (message, line, column, length) => {
      const place = { file: message, line: 1, column: column + 1, length };
      const diagnostic = { ...sample, message, help: message, note: message, label: message, place };
      const text = renderDiagnostics([diagnostic], { [message]: line }, { color: false });
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
      expect(text.replaceAll("\n", "")).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
    }),
  );
});
