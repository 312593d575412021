import fc from "fast-check";
import { expect, test } from "vitest";
import { readDer } from "./svid-der.ts";

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));

test("an element knows its parts and its bytes", () => {
  const { tag, parts, bytes } = readDer(hex("30 06 020101 0101ff"));
  expect([tag, bytes.length]).toEqual([0x30, 8]);
  expect(parts.map((part) => [part.tag, Buffer.from(part.content).toString("hex")])).toEqual([
    [2, "01"],
    [1, "ff"],
  ]);
});

test.each([
  ["nothing", ""],
  ["a tag alone", "30"],
  ["cut off", "3003 0201"],
  ["cut off inside", "3003 020201"],
  ["bytes after the end", "020101 00"],
  ["an indefinite length", "3080 020101 0000"],
  ["a length of more bytes than it needs", "30 8103 020101"],
  ["a length with a zero before it", `30 820080 ${"0500".repeat(64)}`],
  ["a length of four bytes", "30 8400000003 020101"],
  ["a tag of several bytes", "1f8101 00"],
  ["a number with a zero before it", "0202 0001"],
  ["a negative number written too long", "0202 ffff"],
  ["a number without bytes", "0200"],
  ["a boolean that is neither", "010101"],
])("%s is refused", (_of, text) => {
  expect(() => readDer(hex(text))).toThrow(TypeError);
});

test("what is nested without end is refused", () => {
  let bytes: Uint8Array = hex("0500");
  for (let depth = 0; depth < 40; depth++) bytes = Uint8Array.from([0x30, bytes.length, ...bytes]);
  expect(() => readDer(bytes)).toThrow(/deep/);
});

test("whatever the bytes: an element that is all of them, or a TypeError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        return readDer(bytes).bytes.length === bytes.length;
      } catch (error) {
        return error instanceof TypeError;
      }
    }),
    { numRuns: 2000 },
  );
});
