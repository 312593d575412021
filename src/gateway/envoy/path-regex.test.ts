import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parsePath } from "../../core/path.ts";
import { addPattern, httpEnd, matchHttp, segmentTrie } from "../../policy/match-path.ts";
import { httpPattern } from "../../policy/policy.fake.ts";
import { ambiguity, pathRegex } from "./path-regex.ts";

const whole = (regex: string) => new RegExp(`^(?:${regex})$`);
const characters = whole(ambiguity.characters);
const dotSegment = whole(ambiguity.dotSegment);
const overlong = whole(ambiguity.overlong);
const canonical = (raw: string) =>
  characters.test(raw) && !raw.includes(ambiguity.emptySegment) && !dotSegment.test(raw) && !overlong.test(raw);

/** What a request path is made of where somebody tries; one character a byte. */
const piece = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("a", "b", "v", "20", "A9", ".", "..", "/", "-", "v1", "~", "(", "$") },
  {
    weight: 5,
    arbitrary: fc.constantFrom("%20", "%C3%A9", "%c3%a9", "%C2%A0", "%E2%82%AC", "%F0%9F%98%80", "%ef%bc%8f"),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom("%2F", "%2e", "%41", "%", "%C3", "%ED%A0%80", "%C2%85", "%F4%90%80%80", ";", "//"),
  },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }).map((byte) => `%${byte.toString(16).padStart(2, "0")}`) },
  { weight: 1, arbitrary: fc.string({ maxLength: 2, unit: "binary-ascii" }) },
);
const path = fc.array(piece, { maxLength: 10 }).map((pieces) => `/${pieces.join("")}`);

const segment = fc.constantFrom(
  "a",
  "v1",
  "*",
  ":id",
  "v*",
  "*20",
  "*é",
  "é*",
  "*a*",
  "**",
  "é",
  "a b",
  "x€",
  "(.)",
  "20",
  "A9*",
);
const pattern = fc
  .tuple(fc.constantFrom("GET", "*"), fc.array(segment, { maxLength: 4 }))
  .filter(([, parts]) => parts.filter((part) => part === "**").length <= 2)
  .map(([method, parts]) => httpPattern(`${method} /${parts.join("/")}`.replace("a b", "a\u0000b")))
  .map((made) => ({
    ...made,
    segments: made.segments.map((one) =>
      one.kind === "literal" ? { ...one, text: one.text.replace("\u0000", " ") } : one,
    ),
  }));

describe("the canonical paths are those that parsePath reads", () => {
  test("as a property", () => {
    fc.assert(
      fc.property(path, (raw) => canonical(raw) === parsePath(raw).ok),
      { numRuns: 20_000 },
    );
  });

  test("every pair of escaped bytes, and every character", () => {
    const wrong: string[] = [];
    const hex = (byte: number) => `%${byte.toString(16).padStart(2, "0")}`;
    const check = (raw: string) => {
      if (canonical(raw) !== parsePath(raw).ok) wrong.push(raw);
    };
    for (let byte = 0; byte < 256; byte++) {
      check(`/${String.fromCharCode(byte)}`);
      check(`/a${hex(byte)}`);
      for (let second = 0; second < 256; second++) {
        check(`/${hex(byte)}${hex(second)}`);
        check(`/${hex(byte)}${hex(second)}%80`);
        check(`/${hex(byte)}${hex(second)}%bf%80`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("too long is said apart", () => {
    const long = (length: number) => `/${"a".repeat(length - 1)}`;
    expect(overlong.test(long(8192))).toBe(false);
    expect(overlong.test(long(8193))).toBe(true);
    expect(parsePath(long(8192)).ok).toBe(true);
    expect(parsePath(long(8193)).ok).toBe(false);
  });
});

test("a pattern's expression matches exactly the canonical paths that the pattern does", () => {
  fc.assert(
    fc.property(pattern, path, fc.boolean(), (made, raw, anySlash) => {
      const parsed = parsePath(raw);
      fc.pre(parsed.ok);
      const trie = segmentTrie<ReturnType<typeof httpEnd>>();
      addPattern(
        trie,
        made.segments.filter((one) => one.kind !== "template"),
        httpEnd(made, anySlash),
      );
      const expected = parsed.ok && matchHttp(trie, "GET", parsed).length > 0;
      const regex = pathRegex(made, anySlash);
      expect(regex !== undefined && whole(regex).test(raw)).toBe(expected);
    }),
    { numRuns: 20_000 },
  );
});

test.each([
  { source: "GET /*20", path: "/a%20", matches: false },
  { source: "GET /*20", path: "/a20", matches: true },
  { source: "GET /*A9", path: "/%C3%A9", matches: false },
  { source: "GET /é", path: "/%c3%A9", matches: true },
  { source: "GET /v1/**", path: "/v1", matches: true },
  { source: "GET /v1/**", path: "/v10", matches: false },
  { source: "GET /v1/*", path: "/v1/", matches: false },
  { source: "GET /v1", path: "/v1/", matches: false },
  { source: "GET /a.b", path: "/axb", matches: false },
  { source: "GET /", path: "/", matches: true },
  { source: "GET /**", path: "/", matches: true },
])("$source and $path: $matches", ({ source, path: raw, matches }) => {
  expect(whole(pathRegex(httpPattern(source)) ?? "(?!)").test(raw)).toBe(matches);
});

test("text that no canonical path holds has no expression", () => {
  expect(pathRegex({ ...httpPattern("GET /x"), segments: [{ kind: "literal", text: "a;b" }] })).toBeUndefined();
  expect(pathRegex({ ...httpPattern("GET /x"), segments: [{ kind: "glob", parts: ["\u0085", ""] }] })).toBeUndefined();
});
