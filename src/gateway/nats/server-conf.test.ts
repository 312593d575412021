import { expect, test } from "vitest";
import { type ConfValue, entry, map, printConf } from "./server-conf.ts";

test.each<{ value: ConfValue; text: string }>([
  { value: "plain", text: '"plain"' },
  { value: "", text: '""' },
  { value: 'a"b', text: '"a\\"b"' },
  { value: "a\\b", text: '"a\\\\b"' },
  { value: '\\"', text: '"\\\\\\""' },
  { value: "$PATH # {", text: '"$PATH # {"' },
  { value: 4, text: "4" },
  { value: false, text: "false" },
  { value: [], text: "[]" },
  { value: ["a", 1], text: '[ "a", 1 ]' },
  { value: [map(entry("nkey", "U1"), entry("x", true))], text: '[ { nkey: "U1", x: true } ]' },
])("$value is written $text", ({ value, text }) => {
  expect(printConf([entry("key", value)])).toBe(`key: ${text}\n`);
});

test.each([
  ["max_payload", "max_payload"],
  ["CI", '"CI"'],
  ["include", '"include"'],
  ["7", '"7"'],
  ["a b", '"a b"'],
  ['a"', '"a\\""'],
])("the key %j is written %s", (key, text) => {
  expect(printConf([entry(key, 1), entry(key, map())])).toBe(`${text}: 1\n${text} {}\n`);
});

test("blocks, comments and includes are indented where they stand", () => {
  const inner = [{ comment: "one\ntwo" }, { include: "a.conf" }, entry("b", map(entry("c", 1)))];
  expect(printConf([entry("a", map(...inner))])).toBe(
    'a {\n  # one\n  # two\n  include "a.conf"\n  b {\n    c: 1\n  }\n}\n',
  );
});

test.each(["\n", "\r", "\u0000", "\t", "\u007f"])("%j is refused in a value, a key and a path", (control) => {
  const refused = expect.objectContaining({ code: "render_refused" });
  expect(() => printConf([entry("a", `x${control}`)])).toThrow(refused);
  expect(() => printConf([entry(`x${control}`, 1)])).toThrow(refused);
  expect(() => printConf([{ include: `x${control}` }])).toThrow(refused);
  if (control !== "\n") expect(() => printConf([{ comment: `x${control}` }])).toThrow(refused);
});
