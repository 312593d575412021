import fc from "fast-check";
import { expect, test } from "vitest";
import { parseDocument, Scalar, stringify } from "yaml";
import { sourceOffsets } from "./scalar-offset.ts";

const styles = {
  QUOTE_DOUBLE: "double",
  QUOTE_SINGLE: "single",
  BLOCK_LITERAL: "block",
  BLOCK_FOLDED: "block",
  PLAIN: "plain",
} as const;

test("each character that is not white space is found where the source has it, in every style of scalar", () => {
  const unit = fc.constantFrom("a", "b", "'", '"', "\\", " ", "\n", "é", "界", "😀", "#", "x y", "word ");
  fc.assert(
    fc.property(fc.string({ unit, minLength: 1 }), fc.constantFrom(...Object.keys(styles)), (value, type) => {
      const scalar = new Scalar(value);
      scalar.type = type as keyof typeof styles;
      const text = stringify({ key: { inner: scalar } }, { lineWidth: 20 });
      const node = parseDocument(text).getIn(["key", "inner"], true) as Scalar<string>;
      // The library folds within surrogate pairs; no file can hold what comes out.
      fc.pre(node.value === value && node.range != null && text.isWellFormed());
      const [start, end] = node.range ?? [0, 0];
      const raw = text.slice(start, end);
      const style = styles[node.type as keyof typeof styles];
      for (const [at, character] of [...value.split("").entries()]) {
        if (/\s/.test(character)) continue;
        const [from, to] = sourceOffsets(raw, style, value, at, 1);
        const found = raw.slice(from, to);
        const written = new Set([character, `\\${character}`, `${character}${character}`]);
        expect(written, `${character} at ${at} of ${JSON.stringify(raw)}`).toContain(found);
      }
    }),
  );
});

test.each([
  { raw: '"a\\u0041b"', value: "aAb", at: 2, length: 1, found: "b" },
  { raw: '"\\U0001F680-x"', value: "🚀-x", at: 3, length: 1, found: "x" },
  { raw: '"\\uD83D\\uDE80-x"', value: "🚀-x", at: 3, length: 1, found: "x" },
  { raw: '"a \\\n  b"', value: "a b", at: 2, length: 1, found: "b" },
  { raw: "'it''s'", value: "it's", at: 2, length: 2, found: "''s" },
  { raw: ">\n  one\n  two\n", value: "one two\n", at: 4, length: 3, found: "two" },
  { raw: "|-\n  one\n    two\n", value: "one\n  two", at: 6, length: 3, found: "two" },
  { raw: "one\n  two", value: "one two", at: 0, length: 7, found: "one" },
])("$raw: $length characters at $at are $found", ({ raw, value, at, length, found }) => {
  const style = raw.startsWith('"') ? "double" : raw.startsWith("'") ? "single" : /^[|>]/.test(raw) ? "block" : "plain";
  const [start, end] = sourceOffsets(raw, style, value, at, length);
  expect(raw.slice(start, end)).toBe(found);
});
