import { type HttpEnd, httpEnd } from "../../policy/match-path.ts";
import type { HttpPattern, PathSegment } from "../../policy/model.ts";

/**
 * Paths as RE2 expressions over the raw request path, without query. They are meant to match a whole text, and where
 * `ambiguity` matches nothing: alone they say nothing about characters and dot segments.
 */

const hex = "[0-9A-Fa-f]";
/** A continuation byte of UTF-8, escaped. */
const next = `%[89ABab]${hex}`;
// All but the last byte of a letter: leads of two, three and four (RFC 3629 §4), from U+00A0 on.
const two = `%(?:[Cc][3-9A-Fa-f]|[Dd]${hex})`;
const three = `%[Ee]0%[ABab]${hex}|%[Ee](?:[1-9A-Ca-c]|[EFef])${next}|%[Ee][Dd]%[89]${hex}`;
const four = `%[Ff](?:0%[9ABab]${hex}|[1-3]${next}|4%8${hex})${next}`;

/** The characters of `core/path.ts`: RFC 3986 §3.3 pchar without ";", and escapes of %20 and of UTF-8 from U+00A0 on. */
const characters = `/(?:[A-Za-z0-9\\-._~!$&'()*+,=:@/]|%20|%[Cc]2%[ABab]${hex}|(?:${two}|${three}|${four})${next})*`;

/**
 * What makes a path readable in two ways, or longer than `core/path.ts` reads it: exactly what it refuses. RE2 repeats a
 * thousand times at most, nested or not.
 */
export const ambiguity = {
  /** No canonical path is without these. */
  characters,
  emptySegment: "//",
  dotSegment: ".*/\\.\\.?(?:/.*)?",
  overlong: `${"[^?]{1000}".repeat(8)}[^?]{192}[^?]+`,
} as const;

/** One character of a segment, or one escape: a `*` never takes half of one. */
const unit = "(?:[^%/]|%[0-9A-Fa-f]{2})";

/** The paths of a pattern; undefined where no canonical path can match it. `anySlash` is for denies, as in the decision. */
export function pathRegex(pattern: HttpPattern, anySlash = false): string | undefined {
  const { slash } = httpEnd(pattern, anySlash);
  if (pattern.segments.length === 0) return "/";
  const parts = pattern.segments.map(segmentRegex);
  return parts.includes(undefined) ? undefined : parts.join("") + slashes[slash];
}

const slashes: Readonly<Record<HttpEnd["slash"], string>> = { absent: "", present: "/", free: "/?" };

/** With the slash in front. */
function segmentRegex(part: PathSegment): string | undefined {
  switch (part.kind) {
    case "literal": {
      const text = literal(part.text);
      return text === undefined || text === "" ? undefined : `/${text}`;
    }
    case "glob": {
      const texts = part.parts.map(literal);
      if (texts.includes(undefined)) return undefined;
      return texts.every((text) => text === "") ? `/${unit}+` : `/${texts.join(`${unit}*`)}`;
    }
    case "param":
    // What a job fills in is one segment; whoever matches a template asks what it is.
    case "template":
      return `/${unit}+`;
    case "any":
      return "(?:/[^/]+)*";
  }
}

/** Decoded text as it stands in a path, escapes in either case; undefined for text that no canonical path holds. */
function literal(text: string): string | undefined {
  let regex = "";
  for (const one of text) {
    if (/^[A-Za-z0-9\-._~!$&'()*+,=:@]$/.test(one)) regex += one.replace(/[.$()*+]/, "\\$&");
    else if (one === " " || one >= "\u00a0") regex += [...Buffer.from(one)].map(escaped).join("");
    else return undefined;
  }
  return regex;
}

function escaped(byte: number): string {
  const hex = byte.toString(16).padStart(2, "0").toUpperCase();
  return `%${hex.replace(/[A-F]/g, (letter) => `[${letter}${letter.toLowerCase()}]`)}`;
}
