import { isAlias, isMap, isScalar, isSeq, LineCounter, type ParsedNode, parseDocument, type Scalar } from "yaml";
import type { Findings } from "./findings.ts";
import type { Place } from "./model.ts";
import { type ScalarStyle, sourceOffsets } from "./scalar-offset.ts";
import { checkText, syntaxError } from "./source-text.ts";

export type Path = readonly (string | number)[];

/** A YAML value and where it stands: offsets are UTF-16 units into the file. */
export interface Located {
  readonly value: unknown;
  readonly start: number;
  readonly end: number;
  /** How a scalar is written; undefined for maps, lists and absent values. */
  readonly style?: ScalarStyle;
  readonly entries?: ReadonlyMap<string, { readonly start: number; readonly end: number; readonly node: Located }>;
  readonly items?: readonly Located[];
}

export interface Source {
  readonly name: string;
  readonly text: string;
  readonly root: Located;
  /** The place of an offset range; a range over several lines ends with its first. */
  place(start: number, end: number): Place;
}

const maxDepth = 32;

/** Keys that JavaScript objects have a meaning for; no name in a policy needs them. */
const reservedKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/**
 * One YAML document with the position of everything in it, or undefined and errors in `findings`. One reading only: no
 * aliases, tags, directives, duplicate keys, several documents, or keys that are not text.
 */
export function readSource(name: string, text: string, findings: Findings): Source | undefined {
  const place = placer(name, text);
  const trouble = checkText(text);
  if (trouble) {
    findings.error(trouble.code, place(trouble.at, trouble.at + trouble.length), trouble.message, {
      help: trouble.help,
    });
    return undefined;
  }
  const document = parseDocument(text, {
    lineCounter: new LineCounter(),
    prettyErrors: false,
    uniqueKeys: false, // compares every pair of keys; `locate` does it by a map
    schema: "core",
    merge: false,
    logLevel: "error",
  });
  const first = document.errors[0];
  if (first) {
    // Later syntax errors are nearly always echoes of the first.
    const { code, message, help, at, length } = syntaxError(first, text);
    findings.error(code, place(at, at + length), message, { help });
    return undefined;
  }
  const before = findings.errors;
  const root = locate(document.contents, { place, findings, text }, 0);
  return findings.errors === before ? { name, text, root, place } : undefined;
}

interface Walk {
  readonly place: (start: number, end: number) => Place;
  readonly findings: Findings;
  readonly text: string;
}

const nothing: Located = { value: null, start: 0, end: 0 };

function locate(node: ParsedNode | null, walk: Walk, depth: number): Located {
  if (node === null) return nothing;
  const [start, end] = node.range;
  const { findings, place } = walk;
  if (isAlias(node)) {
    const help = "write the value out; a value that begins with * needs quotes";
    findings.error("yaml_alias", place(start, end), "aliases have no place in policy: one text, one reading", { help });
    return nothing;
  }
  if (node.tag !== undefined) {
    const at = Math.max(0, walk.text.lastIndexOf("!", start - 1));
    const tag = /^\S+/.exec(walk.text.slice(at, start))?.[0] ?? "!";
    const from = tag === "!" && walk.text[at - 1] === "!" ? at - 1 : at;
    findings.error("yaml_tag", place(from, at + tag.length), "tags have no place in policy", {
      help: "leave it out; a value that begins with ! needs quotes",
    });
    return nothing;
  }
  if (depth > maxDepth) {
    findings.error("yaml_too_deep", place(start, start + 1), `nested deeper than ${maxDepth} levels`, {
      help: "nothing in a policy needs that; look for a bracket too many",
    });
    return nothing;
  }
  if (isMap(node)) return locateMap(node.items, start, end, walk, depth);
  if (isSeq(node)) {
    const items = node.items.map((item) => locate(item as ParsedNode | null, walk, depth + 1));
    return { value: items.map((item) => item.value), start, end, items };
  }
  return isScalar(node) ? { value: node.value, start, end, style: style(node) } : nothing;
}

function locateMap(
  pairs: readonly { key: ParsedNode; value: ParsedNode | null }[],
  start: number,
  end: number,
  walk: Walk,
  depth: number,
): Located {
  const entries = new Map<string, { start: number; end: number; node: Located }>();
  const value: Record<string, unknown> = Object.create(null);
  for (const pair of pairs) {
    const [keyStart, keyEnd] = pair.key?.range ?? [start, start + 1];
    const key = readKey(pair.key, walk.place(keyStart, keyEnd), walk.findings);
    if (key === undefined) continue;
    const earlier = entries.get(key);
    if (earlier) {
      const { line } = walk.place(earlier.start, earlier.end);
      const help = `merge the two, or rename one (first on line ${line})`;
      walk.findings.error("duplicate_key", walk.place(keyStart, keyEnd), `the key "${key}" is here twice`, { help });
      continue;
    }
    const node = locate(pair.value, walk, depth + 1);
    entries.set(key, { start: keyStart, end: keyEnd, node });
    value[key] = node.value;
  }
  return { value, start, end, entries };
}

function readKey(node: ParsedNode | null, place: Place, findings: Findings): string | undefined {
  const key: unknown = isScalar(node) && node.tag === undefined ? node.value : undefined;
  if (typeof key === "string" && !reservedKeys.has(key)) return key;
  const [message, help] =
    typeof key === "string"
      ? [`the name "${key}" is reserved`, "choose another name"]
      : ["a key must be text", "write it as plain text, in quotes if it looks like a number"];
  findings.error("yaml_key", place, message, { help });
  return undefined;
}

function style(node: Scalar): ScalarStyle {
  if (node.type === "QUOTE_SINGLE") return "single";
  if (node.type === "QUOTE_DOUBLE") return "double";
  return node.type === "BLOCK_FOLDED" || node.type === "BLOCK_LITERAL" ? "block" : "plain";
}

/** Line and column of offsets, in characters (code points), by binary search. */
function placer(file: string, text: string): (start: number, end: number) => Place {
  const lines = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) lines.push(at + 1);
  const pairs: number[] = []; // offsets of second halves of surrogate pairs
  for (const match of text.matchAll(/[\u{10000}-\u{10ffff}]/gu)) pairs.push(match.index + 1);
  const characters = (from: number, to: number) => to - from - (below(pairs, to) - below(pairs, from));
  return (start, end) => {
    const from = Math.min(Math.max(0, start), text.length);
    const line = below(lines, from + 1);
    const lineStart = lines[line - 1] ?? 0;
    const lineEnd = Math.max(from, (lines[line] ?? text.length + 1) - 1);
    const to = Math.min(Math.max(end, from), lineEnd);
    return { file, line, column: characters(lineStart, from) + 1, length: Math.max(1, characters(from, to)) };
  };
}

/** How many of the ascending numbers are below `limit`. */
function below(numbers: readonly number[], limit: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((numbers[middle] ?? 0) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The place of a value; of a map, list or absent value: its key. An absent path stands at its nearest ancestor. */
export function placeOf(source: Source, path: Path): Place {
  const { node, key, depth } = follow(source.root, path);
  if (depth === path.length && node.style && node.end > node.start) return source.place(node.start, node.end);
  if (key) return source.place(key.start, key.end);
  return source.place(node.start, node.end);
}

/** The place of a map's key, or of the nearest ancestor there is. */
export function placeOfKey(source: Source, path: Path): Place {
  const { key, node } = follow(source.root, path);
  return key ? source.place(key.start, key.end) : source.place(node.start, node.end);
}

/** True where the map has the key as written, whatever its value. */
export function hasKey(source: Source, path: Path, key: string): boolean {
  return follow(source.root, path).node.entries?.has(key) ?? false;
}

/** How many entries a map has as written, before anything wrong in it is left out. */
export function sizeOf(source: Source, path: Path): number {
  return follow(source.root, path).node.entries?.size ?? 0;
}

/** The place of part of a scalar's text: `at` and `length` count in its value, whatever quotes and escapes the file uses. */
export function placeWithin(source: Source, path: Path, at: number, length: number): Place {
  const { node, depth } = follow(source.root, path);
  if (depth !== path.length || node.style === undefined || typeof node.value !== "string" || node.value === "")
    return placeOf(source, path);
  const raw = source.text.slice(node.start, node.end);
  const [start, end] = sourceOffsets(raw, node.style, node.value, at, length);
  return source.place(node.start + start, node.start + end);
}

interface Found {
  readonly node: Located;
  readonly key: { readonly start: number; readonly end: number } | undefined;
  /** How many steps of the path there are. */
  readonly depth: number;
}

function follow(root: Located, path: Path): Found {
  let found: Found = { node: root, key: undefined, depth: 0 };
  for (const step of path) {
    const entry = typeof step === "string" ? found.node.entries?.get(step) : undefined;
    const node = entry?.node ?? (typeof step === "number" ? found.node.items?.[step] : undefined);
    if (node === undefined) break;
    // A map in a list stands at itself; the key above names the whole list.
    const key = entry ?? (node.entries || node.items ? undefined : found.key);
    found = { node, key, depth: found.depth + 1 };
  }
  return found;
}
