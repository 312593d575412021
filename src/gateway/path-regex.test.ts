import fc from "fast-check";
import { expect, test } from "vitest";
import { parsePath } from "../core/path.ts";
import { addPattern, type FilledSegment, httpEnd, matchHttp, segmentTrie } from "../policy/match-path.ts";
import { httpPattern } from "../policy/policy.fake.ts";
import { pathRegex, patternRegex } from "./path-regex.ts";

const pieces = [
  "a",
  "Z9",
  ".",
  "..",
  "...",
  "..;",
  ";",
  "%20",
  "%2F",
  "%2e",
  "%C3%A9",
  "%c3%A9",
  "%c2%80",
  "%C2%A0",
  "%ED%A0%80",
];
const more = [
  "%F4%90%80%80",
  "%E0%80%80",
  "%EF%BF%BD",
  "%",
  "é",
  "~!$&'()*+,=:@-_",
  "\\",
  "?",
  "#",
  "//",
  "",
  "v1.json",
  "b",
];
const text = fc
  .array(fc.oneof(fc.constantFrom(...pieces, ...more), fc.constant("/")), { maxLength: 7 })
  .map((list) => `/${list.join("")}`);

test("the expression of all paths accepts exactly those that are read in one way", () => {
  const regex = new RegExp(pathRegex);
  fc.assert(
    fc.property(text, fc.boolean(), (path, absolute) => {
      const raw = absolute ? path : path.slice(1);
      expect([raw, regex.test(raw)]).toEqual([raw, parsePath(raw).ok]);
    }),
    { numRuns: 10_000 },
  );
});

const part = fc.constantFrom("a", "b", "*", "**", ":id", "v*", "*.json", "caf\u00e9", "a b", "x.$(1)", "*.*");

test("a pattern's expression matches exactly what policy's own matcher does", () => {
  const path = fc.array(
    fc.oneof(
      fc.constantFrom("a", "b", "v1", "v1.json", "caf%C3%A9", "caf%c3%a9", "a%20b", "x.$(1)", "xa$(1)", "..", "..json"),
      text.map((one) => one.slice(1)),
    ),
    { maxLength: 4 },
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), path, fc.boolean(), (parts, segments, slash) => {
      const pattern = httpPattern(`GET /${parts.join("/")}`);
      const raw = `/${segments.join("/")}${slash ? "/" : ""}`;
      const regex = patternRegex(pattern);
      if (regex === undefined) return;
      const trie = segmentTrie<ReturnType<typeof httpEnd>>();
      addPattern(trie, pattern.segments as readonly FilledSegment[], httpEnd(pattern));
      const parsed = parsePath(raw);
      const wanted = parsed.ok && matchHttp(trie, "GET", parsed).length > 0;
      expect([pattern.source, raw, new RegExp(regex).test(raw)]).toEqual([pattern.source, raw, wanted]);
    }),
    { numRuns: 10_000 },
  );
});

test.each(["/${job.id}", "/a/${job.ref_slug}/**", "/*.*x*/.*", "/.*"])(
  "GET %s: no expression where %s cannot be one",
  (path) => {
    const regex = patternRegex(httpPattern(`GET ${path}`));
    expect(regex === undefined || !new RegExp(regex).test("/..")).toBe(true);
  },
);
