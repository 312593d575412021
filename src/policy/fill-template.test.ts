import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parsePath } from "../core/path.ts";
import { fillHost, fillTemplate, splitTemplate } from "./fill-template.ts";

const fill = (source: string, value: string, place: "segment" | "token" | "label" = "segment") =>
  fillTemplate(splitTemplate(source), { x: value }, place);

describe("a value fills", () => {
  test.each([
    ["segment", "${x}", "1042", "1042"],
    ["segment", "v-${x}.json", "a_b~c", "v-a_b~c.json"],
    ["segment", "${x}", "a.b", "a.b"],
    ["token", "${x}", "a_b-1", "a_b-1"],
    ["label", "${x}", "review-7", "review-7"],
  ] as const)("a %s: %s with %s", (place, source, value, text) => {
    expect(fill(source, value, place)).toBe(text);
  });
});

describe("a value does not fill", () => {
  test.each([
    ["segment", "", "nothing"],
    ["segment", ".", "a dot segment"],
    ["segment", "..", "a parent segment"],
    ["segment", "...", "dots alone"],
    ["segment", "a/b", "two segments"],
    ["segment", "a%2Fb", "an escape"],
    ["segment", "a b", "a space"],
    ["segment", "*", "a star"],
    ["segment", "**", "two stars"],
    ["segment", ":id", "a parameter"],
    ["segment", "é", "a letter to escape"],
    ["segment", "a;b", "a path parameter"],
    ["segment", "a\n", "a line end"],
    ["segment", "${x}", "a template"],
    ["segment", "a".repeat(300), "too much"],
    ["token", "a.b", "two tokens"],
    ["token", "*", "a wildcard"],
    ["token", ">", "the other wildcard"],
    ["token", "a b", "a space"],
    ["label", "A", "a capital"],
    ["label", "a.b", "two labels"],
    ["label", "-a", "a leading hyphen"],
    ["label", "a-", "a trailing hyphen"],
    ["label", "a_b", "an underscore"],
    ["label", "a".repeat(64), "more than 63"],
  ] as const)("a %s: %j is %s", (place, value, _) => {
    expect(fill("${x}", value, place)).toBeUndefined();
  });

  test("where the job has no such variable, or it is one of every object", () => {
    expect(fillTemplate(splitTemplate("${y}"), { x: "1" }, "segment")).toBeUndefined();
    expect(fillTemplate(splitTemplate("${constructor}"), {}, "segment")).toBeUndefined();
  });
});

test("two dots beside each other make no parent segment", () => {
  expect(fillTemplate(splitTemplate(".${x}"), { x: "a" }, "segment")).toBe(".a");
  expect(fill("${x}.", ".")).toBeUndefined();
});

test.each([
  ["billing.internal", "billing.internal"],
  ["${environment.slug}.review.acme.example", "pr-7.review.acme.example"],
  ["${missing}.review.acme.example", undefined],
  ["${environment.slug", undefined],
])("host %s", (host, filled) => {
  expect(fillHost(host, { "environment.slug": "pr-7" })).toBe(filled);
});

test("whatever fills a segment is one plain segment of a path", () => {
  fc.assert(
    fc.property(fc.string(), (value) => {
      const text = fill("${x}", value);
      if (text !== undefined) expect(parsePath(`/a/${text}`)).toMatchObject({ ok: true, segments: ["a", value] });
    }),
  );
});
