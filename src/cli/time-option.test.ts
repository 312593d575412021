import { expect, test } from "vitest";
import type { Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { timeOption } from "./time-option.ts";

const now = Date.UTC(2026, 10, 24, 9, 30, 0);
const read = (text?: string) =>
  timeOption({ now: () => now } as CommandIo, { text: () => text } as unknown as Input, "since");

test.each([
  ["90s", "2026-11-24T09:28:30.000Z"],
  ["15m", "2026-11-24T09:15:00.000Z"],
  ["6h", "2026-11-24T03:30:00.000Z"],
  ["1d", "2026-11-23T09:30:00.000Z"],
])("%s is so long ago", (text, at) => {
  expect(read(text)).toBe(at);
});

test.each(["2026-11-24T09:00:00Z", "yesterday", "1w", "-1d", "1.5h", "", "1d ", "d", "1234567s"])(
  "%j goes to the broker as it is, which refuses what is no time",
  (text) => {
    expect(read(text)).toBe(text);
  },
);

test("nothing stays nothing", () => {
  expect(read(undefined)).toBeUndefined();
});
