import { parsePath } from "../core/path.ts";
import { type Parsed, parsed, refused } from "./findings.ts";
import type { HttpPattern, PathSegment } from "./model.ts";
import { parseGlobSegment } from "./parse-glob.ts";
import { isTemplate, parseTemplate, splitOutside } from "./parse-template.ts";
import { suggest } from "./suggest.ts";

/** Methods a role may name. CONNECT and TRACE are left out: no gateway forwards them. */
export const httpMethods: readonly string[] = [
  ...["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"],
  ...["PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "PURGE"],
];

const maxLength = 1024;
const maxSegments = 32;

/**
 * `METHOD /path`: one upper-case method or `*`, then segments that are literal text, `*` or text with `*`, `:name`, `**`, or
 * a `${…}` template. Codes: `operation_invalid`, `method_unknown`, `path_invalid`, `glob_invalid`, and those of templates.
 */
export function parseHttpPattern(source: string, stream: boolean, variables: readonly string[]): Parsed<HttpPattern> {
  const match = /^(\S+) (\S+)$/.exec(source);
  if (source.length > maxLength || !match) {
    const help = "a method, one space and a path: GET /v1/items/**";
    return refused("operation_invalid", "this is not a method and a path", 0, source.length, help);
  }
  const [, method = "", path = ""] = match;
  const wrong = checkMethod(method);
  if (wrong) return wrong;
  const segments = parsePathPattern(path, method.length + 1, variables);
  return segments.ok ? parsed({ method, segments: segments.value, stream, source }) : segments;
}

function checkMethod(method: string): Parsed<never> | undefined {
  if (method === "*" || httpMethods.includes(method)) return undefined;
  if (method.includes(",") || method.includes("|")) {
    const help = "one operation per method, or * for every method";
    return refused("method_unknown", "one operation names one method", 0, method.length, help);
  }
  const near = suggest(method, httpMethods);
  const help = near === undefined ? "write GET, POST, … or * for every method" : `did you mean "${near}"?`;
  return refused("method_unknown", `no HTTP method "${method}"`, 0, method.length, help);
}

function parsePathPattern(path: string, offset: number, variables: readonly string[]): Parsed<PathSegment[]> {
  if (path === "/") return parsed([]);
  if (path[0] !== "/") {
    return refused("path_invalid", "a path begins with /", offset, path.length, `write /${path}`);
  }
  const query = /[?#]/.exec(path);
  if (query) {
    const help = `leave out everything from ${query[0]} on: policy sees the path only`;
    return refused(
      "path_invalid",
      "a path pattern has no query",
      offset + query.index,
      path.length - query.index,
      help,
    );
  }
  const parts = splitOutside(path.slice(1), "/");
  if (parts.length > maxSegments) {
    return refused("path_invalid", "too many segments", offset, path.length, `at most ${maxSegments}`);
  }
  const segments: PathSegment[] = [];
  for (const part of parts) {
    const segment = parseSegment(part.text, offset + 1 + part.at, variables);
    if (!segment.ok) return segment;
    segments.push(segment.value);
  }
  return checkWhole(segments, path, offset);
}

function checkWhole(segments: PathSegment[], path: string, offset: number): Parsed<PathSegment[]> {
  if (segments.filter((segment) => segment.kind === "any").length > 2) {
    const help = "one ** is enough to cross any number of segments";
    return refused("glob_invalid", "more than two ** in one path", offset, path.length, help);
  }
  const names = segments.flatMap((segment) => (segment.kind === "param" ? [segment.name] : []));
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice === undefined) return parsed(segments);
  const at = path.lastIndexOf(`:${twice}`);
  return refused("path_invalid", `:${twice} is here twice`, offset + at, twice.length + 1, "give each its own name");
}

function parseSegment(part: string, at: number, variables: readonly string[]): Parsed<PathSegment> {
  if (part === "") {
    return refused("path_invalid", "an empty segment", at - 1, 1, "take the extra or trailing slash out");
  }
  if (part === "**") return parsed({ kind: "any" });
  if (isTemplate(part)) return parseTemplateSegment(part, at, variables);
  if (part[0] === ":") {
    if (/^:[a-z][a-z0-9_]*$/i.test(part)) return parsed({ kind: "param", name: part.slice(1) });
    return refused(
      "path_invalid",
      `"${part}" is not a parameter name`,
      at,
      part.length,
      "letters, digits and _: /:item_id",
    );
  }
  const glob = parseGlobSegment(part, at);
  if (!glob.ok) return glob;
  if (glob.value.kind === "glob") {
    const parts = literalTexts(glob.value.parts, at, part.length);
    return parts.ok ? parsed({ kind: "glob", parts: parts.value }) : parts;
  }
  const literal = literalText(part, at, part.length);
  return literal.ok ? parsed({ kind: "literal", text: literal.value }) : literal;
}

function literalTexts(texts: readonly string[], at: number, length: number): Parsed<string[]> {
  const decoded: string[] = [];
  for (const text of texts) {
    const literal = text === "" ? parsed("") : literalText(text, at, length);
    if (!literal.ok) return literal;
    decoded.push(literal.value);
  }
  return parsed(decoded);
}

function parseTemplateSegment(part: string, at: number, variables: readonly string[]): Parsed<PathSegment> {
  const template = parseTemplate(part, variables);
  if (!template.ok) return { ok: false, problem: { ...template.problem, at: template.problem.at + at } };
  if (template.value.texts.some((text) => text.includes("*"))) {
    const help = "split it over two segments, or leave one out";
    return refused("glob_invalid", "a * beside a template", at, part.length, help);
  }
  const texts = literalTexts(template.value.texts, at, part.length);
  return texts.ok ? parsed({ kind: "template", template: { ...template.value, texts: texts.value } }) : texts;
}

/** The decoded text of a literal, by the same rules that requests are read by; letters beyond ASCII may stand as they are. */
function literalText(text: string, at: number, length: number): Parsed<string> {
  const escaped = text.replace(/[^\x20-\x7e]+/gu, (letters) => encodeURIComponent(letters));
  // Dots alone are judged by the whole segment, so that "v*." is not taken for a dot segment.
  const path = parsePath(`/${escaped}`);
  if (path.ok && path.segments.length === 1 && !path.trailingSlash) return parsed(path.segments[0] ?? "");
  if (/^\.+$/.test(text) && length > text.length) return parsed(text);
  const problem = path.ok ? "bad_character" : path.problem;
  const [message, help] = pathProblems[problem] ?? ["this path is ambiguous", "write it as requests will carry it"];
  return refused("path_invalid", message, at, length, help);
}

const pathProblems: Readonly<Record<string, readonly [message: string, help: string]>> = {
  dot_segment: ["no request with a dot segment is ever let through", "write the path without . and .."],
  bad_character: [
    "no request with such a character is ever let through",
    "paths hold letters, digits and -._~!$&'()*+,=:@",
  ],
  bad_escape: ["no request with this escape is ever let through", "only %20 and UTF-8 from U+00A0 on may be escaped"],
};

/** `GET /healthz` for a route: an HTTP pattern without templates, since a route knows no job. */
export function parseRoute(source: string): Parsed<HttpPattern> {
  const pattern = parseHttpPattern(source, false, []);
  if (pattern.ok || pattern.problem.code !== "template_unknown") return pattern;
  const { at, length } = pattern.problem;
  return refused(
    "template_not_here",
    "a route knows no job to fill a template from",
    at,
    length,
    "write the path out, or use * or :name",
  );
}

/** True where one path could match both: exact for literals and `**`, and never wrongly false. */
export function overlaps(a: HttpPattern, b: HttpPattern): boolean {
  if (a.method !== "*" && b.method !== "*" && a.method !== b.method) return false;
  return overlapping(a.segments, b.segments);
}

function overlapping(a: readonly PathSegment[], b: readonly PathSegment[]): boolean {
  const [first, ...rest] = a;
  const [other, ...others] = b;
  if (first === undefined) return b.every((segment) => segment.kind === "any");
  if (other === undefined) return a.every((segment) => segment.kind === "any");
  if (first.kind === "any") return overlapping(rest, b) || overlapping(a, others);
  if (other.kind === "any") return overlapping(a, others) || overlapping(rest, b);
  if (first.kind === "literal" && other.kind === "literal" && first.text !== other.text) return false;
  return overlapping(rest, others);
}
