import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parsePath } from "./path.ts";

describe("parsePath accepts what can be read one way only", () => {
  test.each([
    { path: "/", segments: [], slash: true },
    { path: "/v1/invoices/42", segments: ["v1", "invoices", "42"], slash: false },
    { path: "/v1/", segments: ["v1"], slash: true },
    { path: "/a:b@c,d=e+f!$&'()*~", segments: ["a:b@c,d=e+f!$&'()*~"], slash: false },
    { path: "/caf%C3%A9", segments: ["café"], slash: false },
    { path: "/two%20words", segments: ["two words"], slash: false },
    { path: "/...", segments: ["..."], slash: false },
  ])("$path", ({ path, segments, slash }) => {
    expect(parsePath(path)).toEqual({ ok: true, segments, trailingSlash: slash });
  });
});

describe("parsePath refuses everything else", () => {
  test.each([
    ["", "not_absolute"],
    ["v1", "not_absolute"],
    ["*", "not_absolute"],
    ["http://evil/x", "not_absolute"],
    ["//v1", "empty_segment"],
    ["/v1//x", "empty_segment"],
    ["/v1//", "empty_segment"],
    ["//", "empty_segment"],
    ["/.", "dot_segment"],
    ["/v1/..", "dot_segment"],
    ["/v1/../x", "dot_segment"],
    ["/v1/./x", "dot_segment"],
    ["/v1/%2e%2e/x", "bad_escape"],
    ["/v1/%2E", "bad_escape"],
    ["/a%2fb", "bad_escape"],
    ["/a%5Cb", "bad_escape"],
    ["/a%00", "bad_escape"],
    ["/a%25b", "bad_escape"],
    ["/a%7f", "bad_escape"],
    ["/a%0a", "bad_escape"],
    ["/a%", "bad_escape"],
    ["/a%4", "bad_escape"],
    ["/a%zz", "bad_escape"],
    ["/a%c0%af", "bad_escape"],
    ["/a%e0%80%af", "bad_escape"],
    ["/a%ed%a0%80", "bad_escape"],
    ["/a%c2%80", "bad_escape"],
    ["/a%c2", "bad_escape"],
    ["/a;b", "bad_character"],
    ["/a\\b", "bad_character"],
    ["/a#b", "bad_character"],
    ["/a?b", "bad_character"],
    ["/a b", "bad_character"],
    ["/a\tb", "bad_character"],
    ["/a\u0000", "bad_character"],
    ["/é", "bad_character"],
    ["/a|b", "bad_character"],
    ['/a"b', "bad_character"],
    ["/a<b", "bad_character"],
    ["/a[b]", "bad_character"],
    [`/${"a".repeat(8192)}`, "too_long"],
  ])("%j is %s", (path, problem) => {
    expect(parsePath(path)).toEqual({ ok: false, problem });
  });
});

test("encoded_slash: segment opens %2F inside a segment and nothing else", () => {
  expect(parsePath("/a%2Fb/c", "segment")).toEqual({ ok: true, segments: ["a/b", "c"], trailingSlash: false });
  expect(parsePath("/a%5Cb", "segment").ok).toBe(false);
  expect(parsePath("/a%252Fb", "segment").ok).toBe(false);
});

test("an accepted path has no second reading: decoding, merging and resolving it changes nothing", () => {
  const piece = fc.constantFrom(
    "a",
    "..",
    ".",
    "%2e",
    "%2f",
    "%20",
    "%c3%a9",
    ";",
    "\\",
    "//",
    "/",
    "%25",
    "v1",
    "#",
    "?",
  );
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const raw = `/${pieces.join("")}`;
      const parsed = parsePath(raw);
      if (!parsed.ok) return;
      const decoded = decodeURIComponent(raw);
      const { pathname } = new URL(`http://host${raw}`);
      expect(decodeURIComponent(pathname)).toBe(decoded);
      expect(decoded.split("/").filter((segment) => segment !== "")).toEqual(parsed.segments);
    }),
  );
});

test("parsePath never throws", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => typeof parsePath(`/${text}`).ok === "boolean"));
});
