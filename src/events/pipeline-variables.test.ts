import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readJsonPointer } from "./json-pointer.ts";
import { pipelineVariables } from "./pipeline-variables.ts";

const bytes = (json: unknown): Uint8Array =>
  new TextEncoder().encode(typeof json === "string" ? json : JSON.stringify(json));
const wanted = [{ name: "TAG", pointer: "/tag" }];

test.each([
  { value: "1.4.2-rc.1+build/7", text: "1.4.2-rc.1+build/7" },
  { value: "", text: "" },
  { value: "Grüße, 世界 🚢", text: "Grüße, 世界 🚢" },
  { value: "100%2Fx 5% off", text: "100%2Fx 5% off" },
  { value: 0, text: "0" },
  { value: -1.5, text: "-1.5" },
  { value: 9007199254740991, text: "9007199254740991" },
  { value: false, text: "false" },
  { value: "x".repeat(1024), text: "x".repeat(1024) },
])("$value travels as it is", ({ value, text }) => {
  expect(pipelineVariables(bytes({ tag: value }), wanted)).toEqual({ values: { TAG: text } });
});

describe("hostile values refuse the message", () => {
  test.each([
    { what: "a reference", value: "$CI_JOB_TOKEN" },
    { what: "a reference in braces", value: "a${HOME}" },
    { what: "an escaped reference, which some contexts unescape", value: "$$HOME" },
    { what: "a lone dollar at the end", value: "price$" },
    { what: "a command substitution", value: "`id`" },
    { what: "a Windows reference, which GitLab expands too", value: "%CI_JOB_TOKEN%" },
    { what: "an escaped percent", value: "100%%" },
    { what: "a line break", value: "a\nb" },
    { what: "a carriage return", value: "a\rb" },
    { what: "a null character", value: "a\0b" },
    { what: "an escape sequence for the terminal", value: "\u001b[31m" },
    { what: "a line separator", value: "a\u2028b" },
    { what: "a change of direction", value: "a\u202eb" },
    { what: "an invisible character", value: "a\u200bb" },
    { what: "half a character", value: "a\ud800" },
    { what: "too much of it", value: "x".repeat(1025) },
    { what: "an object", value: { a: 1 } },
    { what: "a list", value: ["a"] },
    { what: "null", value: null },
    { what: "a number that JSON readers round", value: 2 ** 53 },
  ])("$what", ({ value }) => {
    expect(pipelineVariables(bytes({ tag: value }), wanted)).toEqual({
      problem: expect.stringContaining("TAG (at /tag)"),
    });
  });

  test.each([
    { what: "nothing there", payload: bytes({}) },
    { what: "a member everybody inherits", payload: bytes({}), pointer: "/constructor/name" },
    { what: "no JSON", payload: bytes("{") },
    { what: "no UTF-8", payload: Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d) },
    { what: "an infinite number", payload: bytes('{"tag":1e999}') },
    { what: "a payload that is too long", payload: bytes({ tag: "1", more: "x".repeat(256 * 1024) }) },
  ])("$what", ({ payload, pointer = "/tag" }) => {
    expect(pipelineVariables(payload, [{ name: "TAG", pointer }])).toEqual({ problem: expect.any(String) });
  });

  test("no value is ever in the reason", () => {
    const found = pipelineVariables(bytes({ tag: "$s3cret" }), wanted);
    expect(JSON.stringify(found)).not.toContain("s3cret");
  });
});

test("whatever the payload, a value that travels is plain text", () => {
  fc.assert(
    fc.property(fc.json(), fc.constantFrom("/a", "/0", "/a/b", "/__proto__", "/~1"), (json, pointer) => {
      const found = pipelineVariables(bytes(json), [{ name: "X", pointer }]);
      if ("problem" in found) return true;
      return Object.values(found.values).every((text) => /^[^\p{Cc}\p{Cf}$`]{0,1024}$/u.test(text));
    }),
  );
});

test("an event without variables reads no payload", () => {
  expect(pipelineVariables(bytes("not json"), [])).toEqual({ values: {} });
});

// RFC 6901 §5
const document = { foo: ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8, "~1": 9 };
test.each([
  ["/foo/0", "bar"],
  ["/", 0],
  ["/a~1b", 1],
  ["/m~0n", 8],
  ["/~01", 9],
  ["/foo/00", undefined],
  ["/foo/-", undefined],
  ["/foo/length", undefined],
  ["/foo/2", undefined],
])("pointer %s", (pointer, value) => {
  expect(readJsonPointer(document, pointer)).toEqual(value);
});
