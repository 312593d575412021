import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { sha256 } from "./sha256.ts";

const oracle = (text: string) => createHash("sha256").update(text).digest("hex");

test.each([
  { text: "", digest: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
  { text: "abc", digest: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
])("the published digest of '$text'", ({ text, digest }) => expect(sha256(text)).toBe(digest));

test("every length up to three blocks agrees with the platform's own", () => {
  for (let length = 0; length <= 200; length++)
    expect(sha256("x".repeat(length)), `${length}`).toBe(oracle("x".repeat(length)));
});

test("any text agrees with the platform's own", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 500 }), (text) => sha256(text) === oracle(text)));
  const large = "wayleave ".repeat(200_000);
  expect(sha256(large)).toBe(oracle(large));
});
