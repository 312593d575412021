import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parsePath } from "../core/path.ts";
import {
  addPattern,
  type FilledSegment,
  findMatches,
  httpEnd,
  matchesParts,
  matchHttp,
  segmentTrie,
} from "./match-path.ts";
import { httpPattern } from "./policy.fake.ts";

function matches(patterns: readonly string[], request: string): readonly string[] {
  const trie = segmentTrie<ReturnType<typeof httpEnd> & { readonly source: string }>();
  for (const source of patterns) {
    const pattern = httpPattern(source);
    const segments = pattern.segments.filter((segment) => segment.kind !== "template");
    addPattern(trie, segments, { ...httpEnd(pattern), source });
  }
  const [method = "", raw = ""] = request.split(" ");
  const path = parsePath(raw);
  if (!path.ok) throw new Error(`${raw} is no path`);
  return matchHttp(trie, method, path).map(({ source }) => source);
}

describe("an HTTP pattern", () => {
  test.each([
    ["GET /a/b", "GET /a/b"],
    ["GET /a/*", "GET /a/b"],
    ["GET /a/:id", "GET /a/b"],
    ["GET /a/v*", "GET /a/v2"],
    ["GET /a/v*", "GET /a/v"],
    ["GET /a/*.json", "GET /a/x.json"],
    ["GET /a/x*y*z", "GET /a/x-y-y-z"],
    ["GET /a/**", "GET /a"],
    ["GET /a/**", "GET /a/"],
    ["GET /a/**", "GET /a/b/c/d/"],
    ["GET /**", "GET /"],
    ["GET /**/z", "GET /z"],
    ["GET /**/z", "GET /a/b/z"],
    ["GET /a/**/z", "GET /a/z"],
    ["GET /a/**/b/**/c", "GET /a/b/b/x/c"],
    ["GET /**/**", "GET /a/b"],
    ["GET /", "GET /"],
    ["GET /a/", "GET /a/"],
    ["* /a", "DELETE /a"],
  ])("%s matches %s", (pattern, request) => {
    expect(matches([pattern], request)).toEqual([pattern]);
  });

  test.each([
    ["GET /a/b", "GET /a/b/"],
    ["GET /a/b/", "GET /a/b"],
    ["GET /a/b", "HEAD /a/b"],
    ["GET /a/b", "get /a/b"],
    ["GET /a/b", "GET /a/B"],
    ["GET /a/b", "GET /a"],
    ["GET /a/b", "GET /a/b/c"],
    ["GET /a/*", "GET /a"],
    ["GET /a/*", "GET /a/b/c"],
    ["GET /a/:id", "GET /a/"],
    ["GET /a/v*", "GET /a/xv2"],
    ["GET /a/*.json", "GET /a/json"],
    ["GET /a/x*x", "GET /a/x"],
    ["GET /a/**/z", "GET /a/z/b"],
    ["GET /a/**", "GET /ab"],
    ["GET /", "GET /a"],
  ])("%s does not match %s", (pattern, request) => {
    expect(matches([pattern], request)).toEqual([]);
  });

  test("every pattern that matches is found, also the same one twice", () => {
    const patterns = ["GET /a/b", "GET /a/b", "GET /a/*", "* /a/**", "GET /*/b", "GET /a/c", "GET /a/b*", "GET /**/b"];
    expect(matches(patterns, "GET /a/b").toSorted()).toEqual(patterns.filter((one) => one !== "GET /a/c").toSorted());
  });

  test("of a deny it covers the path with and without a trailing slash", () => {
    expect(httpEnd(httpPattern("GET /a"), true).slash).toBe("free");
    expect(httpEnd(httpPattern("GET /a")).slash).toBe("absent");
  });
});

/** The definition, written for reading and not for speed. */
function naive(pattern: readonly FilledSegment[], texts: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return texts.length === 0;
  if (first.kind === "any") return texts.some((_, at) => naive(rest, texts.slice(at))) || naive(rest, []);
  const [text, ...others] = texts;
  if (text === undefined) return false;
  const here =
    first.kind === "param" || (first.kind === "literal" ? first.text === text : naiveGlob(first.parts.join("*"), text));
  return here && naive(rest, others);
}

function naiveGlob(glob: string, text: string): boolean {
  if (glob === "") return text === "";
  if (glob[0] === "*") return naiveGlob(glob.slice(1), text) || (text !== "" && naiveGlob(glob, text.slice(1)));
  return glob[0] === text[0] && naiveGlob(glob.slice(1), text.slice(1));
}

const letters = fc.string({ unit: fc.constantFrom("a", "b"), minLength: 1, maxLength: 3 });
const glob = fc.string({ unit: fc.constantFrom("a", "b", "*"), minLength: 1, maxLength: 4 });
const segment: fc.Arbitrary<FilledSegment> = fc.oneof(
  { weight: 4, arbitrary: letters.map((text) => ({ kind: "literal", text }) as const) },
  { weight: 2, arbitrary: glob.map((text) => ({ kind: "glob", parts: text.split("*") }) as const) },
  { weight: 1, arbitrary: fc.constant({ kind: "param", name: "x" } as const) },
  { weight: 2, arbitrary: fc.constant({ kind: "any" } as const) },
);
const pattern = fc.array(segment, { maxLength: 5 });

test("the trie finds exactly the patterns that match, each as often as it was added", () => {
  fc.assert(
    fc.property(fc.array(pattern, { maxLength: 8 }), fc.array(letters, { maxLength: 6 }), (patterns, texts) => {
      const trie = segmentTrie<number>();
      for (const [at, one] of patterns.entries()) addPattern(trie, one, at);
      const wanted = patterns.flatMap((one, at) => (naive(one, texts) ? [at] : []));
      expect(findMatches(trie, texts).toSorted((a, b) => a - b)).toEqual(wanted);
    }),
    { numRuns: 2000 },
  );
});

test("many ** and a long path do not multiply", () => {
  const trie = segmentTrie<number>();
  const any = { kind: "any" } as const;
  const a = { kind: "literal", text: "a" } as const;
  addPattern(trie, [any, a, any, a, any, a, any, a, any, { kind: "literal", text: "b" }], 1);
  expect(
    findMatches(
      trie,
      Array.from({ length: 4000 }, () => "a"),
    ),
  ).toEqual([]);
});

test("a glob with many stars does not backtrack", () => {
  const parts = [...Array.from({ length: 20 }, () => "a"), "b"];
  expect(matchesParts(parts, "a".repeat(5000))).toBe(false);
});
