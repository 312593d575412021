import fc from "fast-check";
import { expect, test } from "vitest";
import { didYouMean, suggest } from "./suggest.ts";

test.each([
  { word: "biling", from: ["billing", "bill"], near: "billing" },
  { word: "prodution", from: ["staging", "production"], near: "production" },
  { word: "GTE", from: ["PUT", "GET"], near: "GET" },
  { word: "Billing", from: ["billing"], near: "billing" },
  { word: "x", from: ["y"], near: "y" },
  { word: "orders", from: ["billing"], near: undefined },
  { word: "same", from: ["same"], near: undefined },
  { word: "", from: ["a"], near: undefined },
  { word: "a".repeat(65), from: ["a".repeat(64)], near: undefined },
])("$word is taken for $near", ({ word, from, near }) => expect(suggest(word, from)).toBe(near));

test("what cannot be guessed is listed while the list is short", () => {
  expect(didYouMean("zzz", ["read", "write"])).toBe("known: read, write");
  expect(
    didYouMean(
      "zzz",
      Array.from({ length: 17 }, (_, at) => `name-${at}`),
    ),
  ).toBeUndefined();
  expect(didYouMean("zzz", [])).toBeUndefined();
});

test("one wrong letter is always found again", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z]{4,20}$/), fc.nat(), (word, at) => {
      const index = at % word.length;
      const wrong = `${word.slice(0, index)}0${word.slice(index + 1)}`;
      expect(suggest(wrong, [word])).toBe(word);
    }),
  );
});
