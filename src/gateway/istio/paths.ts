import type { HttpPattern, PathSegment } from "../../policy/model.ts";

/** What an AuthorizationPolicy's `paths` can say of one pattern. */
export interface IstioPaths {
  readonly paths: readonly string[];
  /** False: they match more than the pattern, so only a route that is asked about may use them. */
  readonly exact: boolean;
}

/**
 * The pattern as Istio's path forms: exact text, `/prefix/*`, or a template with `{*}` and `{**}`. Never less than the
 * pattern matches. Exact only behind the guard, which refuses ambiguous paths.
 */
export function istioPaths(pattern: HttpPattern): IstioPaths {
  const read = pattern.segments.map(segmentText);
  const crossing = pattern.segments.findIndex(({ kind }) => kind === "any");
  if (crossing === -1) {
    const end = pattern.source.endsWith("/") && read.length > 0 ? "/" : "";
    return made([joined(read) + end], read.every(isExact));
  }
  const before = read.slice(0, crossing);
  const after = read.slice(crossing + 1);
  const literal = after.every(({ text, exact }) => exact && !text.includes("{"));
  // `**/**` is `**`.
  if (after.every((segment) => segment === any)) return made(below(before), before.every(isExact));
  // Istio takes nothing but text behind `{**}`; a prefix then matches more.
  if (!literal) return made(below(before), false);
  return made([joined([...before, ...after]), joined([...before, any, ...after])], before.every(isExact));
}

const one = "{*}";
const any: SegmentText = { text: "{**}", exact: true };

interface SegmentText {
  readonly text: string;
  readonly exact: boolean;
}

const isExact = ({ exact }: SegmentText): boolean => exact;
const joined = (segments: readonly SegmentText[]): string => `/${segments.map(({ text }) => text).join("/")}`;

/** The path itself and everything below. */
function below(segments: readonly SegmentText[]): string[] {
  if (segments.length === 0) return ["/*"];
  const path = joined(segments);
  return [path, path.includes(one) ? `${path}/${any.text}` : `${path}/*`];
}

function made(paths: readonly string[], exact: boolean): IstioPaths {
  return { paths, exact };
}

function segmentText(segment: PathSegment): SegmentText {
  switch (segment.kind) {
    case "literal": {
      const text = spelling(segment.text);
      return text === undefined ? { text: one, exact: false } : { text, exact: true };
    }
    case "param":
      return { text: one, exact: true };
    case "glob":
      return { text: one, exact: segment.parts.every((part) => part === "") };
    case "template":
      return { text: one, exact: false };
    case "any":
      return any;
  }
}

/** The one way requests can spell this text; undefined where there are several (`%C3%A9`, `%c3%a9`). */
function spelling(text: string): string | undefined {
  return /^[A-Za-z0-9\-._~!$&'()+,=:@ ]+$/.test(text) ? text.replaceAll(" ", "%20") : undefined;
}

/** True where every request that `pattern` matches is one that `by` matches too; never wrongly true. A trailing slash is left out. */
export function covers(by: HttpPattern, pattern: HttpPattern): boolean {
  return (by.method === "*" || by.method === pattern.method) && covering(by.segments, pattern.segments);
}

function covering(by: readonly PathSegment[], of: readonly PathSegment[]): boolean {
  const [first, ...rest] = by;
  const [other, ...others] = of;
  if (first === undefined) return other === undefined;
  if (first.kind === "any") {
    if (rest.length === 0) return true;
    return covering(rest, of) || (other !== undefined && covering(by, others));
  }
  if (other === undefined || other.kind === "any") return false;
  return segmentCovers(first, other) && covering(rest, others);
}

function segmentCovers(by: PathSegment, of: PathSegment): boolean {
  if (by.kind === "param") return true;
  if (by.kind === "glob" && by.parts.every((part) => part === "")) return true;
  return by.kind === "literal" && of.kind === "literal" && by.text === of.text;
}
