import fc from "fast-check";
import { expect, test } from "vitest";
import { isLiteralSubject, isSubscriptionSubject, WordTable } from "./wire-subject.ts";

const token = fc.oneof(
  fc.constantFrom("a", "b", "*", ">", "", "$JS", "a*", ">b", "é", " ", "\t", "\0", "\x7f", "_INBOX", "~", "!"),
  fc.string({ maxLength: 3 }),
);
const subject = fc.array(token, { minLength: 1, maxLength: 5 }).map((tokens) => tokens.join("."));

test("a table reads as a literal subject exactly what is one", () => {
  const table = new WordTable();
  fc.assert(
    fc.property(subject, fc.constantFrom("", "\r", " 5"), fc.nat(3), (text, after, before) => {
      const bytes = Buffer.from(`${"x".repeat(before)}${text}${after}`);
      const end = after === " 5" ? bytes.length : bytes.length - after.length;
      const read = table.literal(bytes, before, end);
      // A space ends a word: then what stands before it is judged.
      const [word = ""] = bytes.toString("latin1", before, end).split(" ");
      expect([text, read]).toEqual([text, isLiteralSubject(word) ? word : ""]);
      if (read !== "") expect(table.end).toBe(before + word.length);
    }),
    { numRuns: 3_000 },
  );
});

test("words that share a place are never taken for one another", () => {
  const table = new WordTable();
  for (let round = 0; round < 3; round++) {
    for (let at = 0; at < 2000; at++) {
      const text = `a.${at}.${at % 7}`;
      const bytes = Buffer.from(`${text} 5`);
      expect(table.literal(bytes, 0, bytes.length)).toBe(text);
      expect(table.word(bytes, 0, bytes.length)).toBe(text);
    }
  }
});

test("a word keeps its bytes: UTF-8 as it is, anything else is none", () => {
  const table = new WordTable();
  const read = (bytes: Buffer) => table.word(bytes, 0, bytes.length);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 6 }), (array) => {
      const bytes = Buffer.from(array);
      const text = read(bytes);
      if (text !== "") expect(Buffer.from(text)).toEqual(bytes.subarray(0, table.end));
    }),
    { numRuns: 3_000 },
  );
  expect(read(Buffer.from("\ufeffa"))).toBe("\ufeffa");
  expect(read(Buffer.from("a\xff", "latin1"))).toBe("");
});

test.each(["a", "a.b", "$KV.bucket.key", "a".repeat(1024), "a-b_c/d:e=f", "0"])("%j is a literal subject", (text) => {
  expect([isLiteralSubject(text), isSubscriptionSubject(text)]).toEqual([true, true]);
});

test.each(["*", ">", "a.*", "*.a", "a.>", "*.*.>", "a.*.b"])("%j is a subscription's subject alone", (text) => {
  expect([isLiteralSubject(text), isSubscriptionSubject(text)]).toEqual([false, true]);
});

const neither = ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r", "a\n", "a\0", "é", "a*", "*a.b", "a.>.b", ">.a"];
test.each([...neither, ">>", "**", "a.b>", "a".repeat(1025)])("%j is neither", (text) => {
  expect([isLiteralSubject(text), isSubscriptionSubject(text)]).toEqual([false, false]);
});
