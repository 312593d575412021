import { matchesParts } from "./match-path.ts";
import type { PathSegment, StringPattern } from "./model.ts";

/**
 * Whether every text that `narrow` matches, `wide` matches too. Never true where that is not so; false for some pairs where
 * it would be true for reasons that only trying every text would find.
 */
export function coversSegments(wide: readonly PathSegment[], narrow: readonly PathSegment[]): boolean {
  const [first, ...rest] = wide;
  const [other, ...others] = narrow;
  if (first === undefined) return other === undefined;
  if (first.kind === "any") {
    return coversSegments(rest, narrow) || (other !== undefined && coversSegments(wide, others));
  }
  return other !== undefined && coversSegment(first, other) && coversSegments(rest, others);
}

function coversSegment(wide: PathSegment, narrow: PathSegment): boolean {
  if (narrow.kind === "any") return false;
  if (isOne(wide)) return true;
  if (wide.kind === "literal") return narrow.kind === "literal" && narrow.text === wide.text;
  if (wide.kind === "template") return narrow.kind === "template" && narrow.template.source === wide.template.source;
  if (wide.kind !== "glob") return false;
  if (narrow.kind === "literal") return matchesParts(wide.parts, narrow.text);
  return narrow.kind === "glob" && narrow.parts.join("*") === wide.parts.join("*");
}

/** `*` and `:name`: any one segment. */
const isOne = (segment: PathSegment): boolean =>
  segment.kind === "param" || (segment.kind === "glob" && segment.parts.every((part) => part === ""));

/** Whether some text may match both. True where nothing rules it out. */
export function sharesSegments(a: readonly PathSegment[], b: readonly PathSegment[]): boolean {
  const [first, ...rest] = a;
  const [other, ...others] = b;
  if (first === undefined) return b.every((segment) => segment.kind === "any");
  if (other === undefined) return a.every((segment) => segment.kind === "any");
  if (first.kind === "any") return sharesSegments(rest, b) || sharesSegments(a, others);
  if (other.kind === "any") return sharesSegments(a, others) || sharesSegments(rest, b);
  return sharesSegment(first, other) && sharesSegments(rest, others);
}

function sharesSegment(a: PathSegment, b: PathSegment): boolean {
  if (a.kind === "literal" && b.kind === "literal") return a.text === b.text;
  if (a.kind === "glob" && b.kind === "literal") return matchesParts(a.parts, b.text);
  if (a.kind === "literal" && b.kind === "glob") return matchesParts(b.parts, a.text);
  return true; // of two globs, a parameter or a template nothing is known
}

type Value = boolean | StringPattern;

const segmentsOf = (pattern: StringPattern): readonly PathSegment[] =>
  pattern.kind === "glob" ? pattern.segments : pattern.text.split("/").map((text) => ({ kind: "literal", text }));

/** As `coversSegments`, of a selector's values. */
export function coversValue(wide: Value, narrow: Value): boolean {
  if (typeof wide === "boolean" || typeof narrow === "boolean") return wide === narrow;
  return coversSegments(segmentsOf(wide), segmentsOf(narrow));
}

/** As `sharesSegments`, of a selector's values. */
export function sharesValue(a: Value, b: Value): boolean {
  if (typeof a === "boolean" || typeof b === "boolean") return a === b;
  return sharesSegments(segmentsOf(a), segmentsOf(b));
}
