import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeNumber } from "../core/ids.ts";
import { seqOfId } from "./record-id.ts";

test("the number of an id is the one it was made of", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 40 - 1 }), (seq) => {
      expect(seqOfId(`rec_abcd${encodeNumber(seq, 8)}`)).toBe(seq);
    }),
  );
});

test.each([
  "",
  "rec_",
  "rec_abcd0000001",
  "rec_abcd000000001",
  "rec_abcd0000000u",
  "ses_abcd00000001",
  "REC_ABCD00000001",
])("%j is no record id", (id) => {
  expect(seqOfId(id)).toBeUndefined();
});
