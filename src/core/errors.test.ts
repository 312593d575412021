import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { reasonCodes } from "./decision.ts";
import { asWayleaveError, errorCodes, WayleaveError } from "./errors.ts";

const page = readFileSync(new URL("../../docs/reference/errors.md", import.meta.url), "utf8");
const rows = [...page.matchAll(/^\| `(\w+)` \| (.*) \|$/gm)].map(([, code = "", rest = ""]) => ({
  code,
  cells: rest.split(" | "),
}));

test("the page of error codes is the table, both ways, wire by wire", () => {
  const documented = rows
    .filter((row) => row.cells.length === 4)
    .map(({ code, cells }) => [code, ...cells.slice(0, 3)]);
  const table = errorCodes.map((code) => {
    const { http, oauth, exit } = new WayleaveError(code, "x").wire;
    return [code, String(http), oauth, String(exit)];
  });
  expect(documented).toEqual(table);
});

test("the page of reasons is the table, both ways", () => {
  const documented = rows.filter((row) => row.cells.length === 1).map(({ code, cells }) => [code, cells[0]]);
  expect(documented).toEqual(Object.entries(reasonCodes));
});

test("an unknown error says nothing of itself to the caller and everything to the log", () => {
  const cause = new Error("password=hunter2");
  const error = asWayleaveError(cause);
  expect(error.code).toBe("internal");
  expect(error.message).not.toContain("hunter2");
  expect(error.cause).toBe(cause);
});

test("a fault is never mistaken for a refusal: every 5xx exits with 1 or 5", () => {
  for (const code of errorCodes) {
    const { http, exit } = new WayleaveError(code, "x").wire;
    if (http >= 500) expect([1, 5]).toContain(exit);
    else expect([2, 3, 4]).toContain(exit);
  }
});
