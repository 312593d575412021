import type { HttpPattern, PathSegment } from "../policy/model.ts";

const tail = "%[89ABab][0-9A-Fa-f]"; // 80 to BF
const beyondAscii = [
  "%[Cc]2%[ABab][0-9A-Fa-f]", // U+00A0 to U+00BF: C1 controls are left out
  `%(?:[Cc][3-9A-Fa-f]|[Dd][0-9A-Fa-f])${tail}`,
  `%[Ee]0%[ABab][0-9A-Fa-f]${tail}`,
  `%[Ee][1-9A-Ca-cEeFf]${tail}${tail}`,
  `%[Ee][Dd]%[89][0-9A-Fa-f]${tail}`,
  `%[Ff]0%[9ABab][0-9A-Fa-f]${tail}${tail}`,
  `%[Ff][1-3]${tail}${tail}${tail}`,
  `%[Ff]4%8[0-9A-Fa-f]${tail}${tail}`,
].join("|");

/** `all`: letters beyond ASCII too, in well-formed UTF-8, which takes long expressions. */
export type Letters = "all" | "ascii";

/** One character but a dot. */
const character = (letters: Letters): string =>
  `(?:[A-Za-z0-9_~!$&'()*+,=:@-]|%20${letters === "all" ? `|${beyondAscii}` : ""})`;

/** `parsePath` without lookahead, which RE2 and Rust lack: a segment is not empty, not `.` and not `..`. */
const segment = (letters: Letters): string => {
  const one = character(letters);
  return `(?:\\.*${one}(?:${one}|\\.)*|\\.{3,})`;
};

/** What `parsePath` accepts, but for its greatest length. Anchored by itself. */
export const pathRegex = wholePath("all");

function wholePath(letters: Letters): string {
  return `^(?:/|(?:/${segment(letters)})+/?)$`;
}

/**
 * A pattern as an anchored expression that matches exactly the requests policy's own matcher does, in every spelling of a
 * letter beyond ASCII; with `ascii`, only those without such letters where a star or a parameter stands. Undefined where the path
 * is filled from a job's claims.
 */
export function patternRegex(pattern: HttpPattern, letters: Letters = "all"): string | undefined {
  const last = pattern.segments.at(-1)?.kind === "any";
  const parts: string[] = [];
  for (const one of last ? pattern.segments.slice(0, -1) : pattern.segments) {
    const text = segmentRegex(one, letters);
    if (text === undefined) return undefined;
    parts.push(text);
  }
  const path = parts.join("");
  if (last) return path === "" ? wholePath(letters) : `^${path}(?:/${segment(letters)})*/?$`;
  return path === "" ? "^/$" : `^${path}${pattern.source.endsWith("/") ? "/" : ""}$`;
}

function segmentRegex(one: PathSegment, letters: Letters): string | undefined {
  switch (one.kind) {
    case "literal":
      return `/${spelled(one.text)}`;
    case "param":
      return `/${segment(letters)}`;
    case "any":
      return `(?:/${segment(letters)})*`;
    case "glob":
      return globRegex(one.parts, letters);
    case "template":
      return undefined;
  }
}

/** Undefined where the stars alone could make a dot segment. */
function globRegex(parts: readonly string[], letters: Letters): string | undefined {
  if (parts.every((part) => part === "")) return `/${segment(letters)}`;
  if (!parts.some((part) => /[^.]/.test(part))) return undefined;
  return `/${parts.map(spelled).join(`(?:${character(letters)}|\\.)*`)}`;
}

/** Every spelling that requests may have for this text. */
function spelled(text: string): string {
  return [...text].map((letter) => (/[A-Za-z0-9]/.test(letter) ? letter : spelling(letter))).join("");
}

function spelling(letter: string): string {
  if (/[-._~!$&'()*+,=:@]/.test(letter)) return `\\${letter}`.replace(/\\([-_~!&',=:@])/, "$1");
  return encodeURIComponent(letter).replace(/[A-F]/g, (digit) => `[${digit}${digit.toLowerCase()}]`);
}
