import { type Parsed, parsed, refused } from "./findings.ts";
import type { PathSegment, StringPattern } from "./model.ts";

const maxLength = 1024;
const maxStars = 4;

/**
 * A selector value: exact text, or a glob where it holds a `*`: `*` within one `/`-separated segment, `**` alone across
 * segments. Codes: `value_invalid`, `glob_invalid`.
 */
export function parseStringPattern(text: string): Parsed<StringPattern> {
  if (text === "" || text.trim() !== text) {
    return refused(
      "value_invalid",
      text === "" ? "an empty value matches nothing" : "spaces around a value match nothing",
      0,
      text.length,
      "write the value as the CI writes it",
    );
  }
  if (text.length > maxLength)
    return refused("value_invalid", "the value is too long", 0, text.length, `at most ${maxLength} characters`);
  if (!text.includes("*")) return parsed({ kind: "exact", text });
  const segments: PathSegment[] = [];
  let at = 0;
  let anys = 0;
  for (const part of text.split("/")) {
    if (part === "**" && ++anys > 2) {
      return refused(
        "glob_invalid",
        "more than two ** in one value",
        at,
        2,
        "one ** is enough to cross any number of segments",
      );
    }
    // Between the slashes of spiffe:// and https:// is nothing, and only there.
    const ofScheme = part === "" && segments.length === 1 && scheme.test(text);
    const segment = ofScheme ? parsed<PathSegment>({ kind: "literal", text: "" }) : parseGlobPart(part, at);
    if (!segment.ok) return segment;
    segments.push(segment.value);
    at += part.length + 1;
  }
  return parsed({ kind: "glob", segments, source: text });
}

const scheme = /^[a-z][a-z0-9+.-]*:\/\//;

const parseGlobPart = (part: string, at: number): Parsed<PathSegment> =>
  part === "**" ? parsed({ kind: "any" }) : parseGlobSegment(part, at);

/** One segment: literal text, or a glob split at its stars. `at` is its offset, for the problem. */
export function parseGlobSegment(part: string, at: number): Parsed<PathSegment> {
  if (part === "")
    return refused("glob_invalid", "an empty segment", Math.max(0, at - 1), 1, "take the extra slash out");
  if (part.includes("**")) {
    const help = "** stands alone between slashes; * matches within a segment";
    return refused("glob_invalid", "** beside other characters", at + part.indexOf("**"), 2, help);
  }
  if (!part.includes("*")) return parsed({ kind: "literal", text: part });
  const parts = part.split("*");
  if (parts.length > maxStars + 1) {
    return refused("glob_invalid", "too many * in one segment", at, part.length, `at most ${maxStars}`);
  }
  return parsed({ kind: "glob", parts });
}

/** True where the pattern says which tree it means: it is exact, or its first segment holds no star (of an address: its host). */
export function isAnchored(pattern: StringPattern): boolean {
  if (pattern.kind === "exact") return true;
  return pattern.segments[scheme.test(pattern.source) ? 2 : 0]?.kind === "literal";
}

/** Whether a text matches: segment by segment, `*` within one, `**` across any number. */
export function matchesPattern(pattern: StringPattern, text: string): boolean {
  return pattern.kind === "exact" ? pattern.text === text : matchesSegments(pattern.segments, text.split("/"));
}

function matchesSegments(pattern: readonly PathSegment[], texts: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return texts.length === 0;
  // At most two `**` stand in a pattern, so trying each length stays cheap.
  if (first.kind === "any") return [...texts.keys(), texts.length].some((at) => matchesSegments(rest, texts.slice(at)));
  const [text] = texts;
  if (text === undefined) return false;
  const here =
    first.kind === "literal" ? first.text === text : first.kind === "glob" && matchesStars(first.parts, text);
  return here && matchesSegments(rest, texts.slice(1));
}

/** Leftmost placement of each part between the stars decides. */
function matchesStars(parts: readonly string[], text: string): boolean {
  const [head = ""] = parts;
  const tail = parts.at(-1) ?? "";
  if (!text.startsWith(head) || !text.endsWith(tail) || text.length < head.length + tail.length) return false;
  let at = head.length;
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return at <= text.length - tail.length;
}
