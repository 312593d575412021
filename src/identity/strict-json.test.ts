import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseStrictJson } from "./strict-json.ts";

const parse = (text: string) => parseStrictJson(new TextEncoder().encode(text));

describe("parseStrictJson refuses", () => {
  test.each([
    { what: "a key twice", text: '{"aud":"a","aud":"b"}', problem: "names a key twice" },
    { what: "a key twice with the same value", text: '{"a":1,"a":1}', problem: "names a key twice" },
    { what: "a key twice, once escaped", text: '{"aud":1,"\\u0061ud":2}', problem: "names a key twice" },
    { what: "a key twice further down", text: '{"a":[{"b":{"c":1,"d":2,"c":3}}]}', problem: "names a key twice" },
    { what: "__proto__ twice", text: '{"__proto__":1,"__proto__":2}', problem: "names a key twice" },
    { what: "the empty key twice", text: '{"":1,"":2}', problem: "names a key twice" },
    {
      what: "a key twice around a string full of brackets",
      text: '{"a":"{[}]\\"","a":1}',
      problem: "names a key twice",
    },
    { what: "a comment", text: '{"a":1}//', problem: "is not JSON" },
    { what: "a trailing comma", text: '{"a":1,}', problem: "is not JSON" },
    { what: "a second value", text: "{}{}", problem: "is not JSON" },
    { what: "nothing", text: "", problem: "is not JSON" },
    { what: "a byte order mark", text: "\ufeff{}", problem: "is not JSON" },
  ])("$what", ({ text, problem }) => {
    expect(parse(text)).toEqual({ ok: false, problem });
  });

  test("bytes that are not UTF-8", () => {
    expect(parseStrictJson(Buffer.from([0x22, 0xff, 0x22]))).toEqual({ ok: false, problem: "is not UTF-8" });
    expect(parseStrictJson(Buffer.from([0x22, 0xc0, 0xaf, 0x22]))).toEqual({ ok: false, problem: "is not UTF-8" });
  });
});

test.each([
  { what: "one key in two objects", text: '[{"a":1},{"a":2}]' },
  { what: "one key in an object and the object in it", text: '{"a":{"a":1}}' },
  { what: "a key that is also a value", text: '{"a":"a","b":"a"}' },
  { what: "keys that differ in case", text: '{"aud":1,"AUD":2}' },
])("parseStrictJson reads $what", ({ text }) => {
  expect(parse(text)).toEqual({ ok: true, value: JSON.parse(text) });
});

test("whatever JSON.stringify writes is read back the same", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1, "\t"), (value, indent) => {
      const text = JSON.stringify(value, undefined, indent);
      expect(parse(text)).toEqual({ ok: true, value: JSON.parse(text) });
    }),
  );
});

test("an object with a repeated key is refused wherever it stands", () => {
  fc.assert(
    fc.property(fc.string(), fc.jsonValue(), fc.jsonValue(), fc.nat(5), (key, one, other, depth) => {
      const object = `{${JSON.stringify(key)}:${JSON.stringify(one)} , ${JSON.stringify(key)} :${JSON.stringify(other)}}`;
      const text = `${"[".repeat(depth)}${object}${"]".repeat(depth)}`;
      expect(parse(text).ok).toBe(false);
    }),
  );
});

test("arbitrary bytes never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(typeof parseStrictJson(bytes).ok).toBe("boolean");
    }),
  );
});
