import type { parsePath } from "../core/path.ts";
import type { HttpPattern, PathSegment } from "./model.ts";

/** A segment whose templates are filled. */
export type FilledSegment = Exclude<PathSegment, { readonly kind: "template" }>;

/** Patterns over segments, merged so that one search finds every pattern a text matches. */
export interface SegmentTrie<T> {
  literals: Map<string, SegmentTrie<T>> | undefined;
  globs: { readonly parts: readonly string[]; readonly node: SegmentTrie<T> }[] | undefined;
  /** `:name` and `*`. */
  one: SegmentTrie<T> | undefined;
  /** `**`; the node below it stays active over any number of segments. */
  any: SegmentTrie<T> | undefined;
  readonly loops: boolean;
  readonly ends: T[];
  /** On the root: some pattern has more than one `**`. */
  nested: boolean;
  /** The last step that made this node active, so that none is active twice. */
  mark: number;
}

export function segmentTrie<T>(loops = false): SegmentTrie<T> {
  return { literals: undefined, globs: undefined, one: undefined, any: undefined, loops, ends: [], nested: false, mark: 0 };
}

/** Adds a pattern. The same pattern may be added any number of times. */
export function addPattern<T>(root: SegmentTrie<T>, segments: readonly FilledSegment[], end: T): void {
  let node = root;
  for (const segment of segments) node = child(node, segment);
  root.nested ||= segments.filter((segment) => segment.kind === "any").length > 1;
  node.ends.push(end);
}

function child<T>(node: SegmentTrie<T>, segment: FilledSegment): SegmentTrie<T> {
  switch (segment.kind) {
    case "literal": {
      node.literals ??= new Map();
      const known = node.literals.get(segment.text) ?? segmentTrie<T>();
      node.literals.set(segment.text, known);
      return known;
    }
    case "glob": {
      if (segment.parts.every((part) => part === "")) return child(node, { kind: "param", name: "" });
      node.globs ??= [];
      const key = segment.parts.join("*");
      const known = node.globs.find((glob) => glob.parts.join("*") === key)?.node;
      if (known) return known;
      const fresh = segmentTrie<T>();
      node.globs.push({ parts: segment.parts, node: fresh });
      return fresh;
    }
    case "param":
      node.one ??= segmentTrie<T>();
      return node.one;
    case "any":
      if (node.loops) return node; // `**/**` is `**`
      node.any ??= segmentTrie<T>(true);
      return node.any;
  }
}

/** Every node that all of `segments` lead to, once each, in no particular order. */
export function findEnds<T>(root: SegmentTrie<T>, segments: readonly string[]): readonly SegmentTrie<T>[] {
  if (root.nested) return followAll(root, segments);
  const found: SegmentTrie<T>[] = [];
  descend(root, segments, 0, found);
  return found;
}

/** Depth first. With one `**` on a way down no node is reached twice, so this is linear in segments for each pattern. */
function descend<T>(node: SegmentTrie<T>, segments: readonly string[], at: number, found: SegmentTrie<T>[]): void {
  if (node.any !== undefined) loop(node.any, segments, at, found);
  if (at === segments.length) {
    if (node.ends.length > 0) found.push(node);
    return;
  }
  const text = segments[at] as string;
  if (node.literals !== undefined) {
    const literal = node.literals.get(text);
    if (literal !== undefined) descend(literal, segments, at + 1, found);
  }
  if (node.one !== undefined) descend(node.one, segments, at + 1, found);
  if (node.globs === undefined) return;
  for (const glob of node.globs) if (matchesParts(glob.parts, text)) descend(glob.node, segments, at + 1, found);
}

/** A node under `**`: what follows it may begin at any later segment. */
function loop<T>(node: SegmentTrie<T>, segments: readonly string[], at: number, found: SegmentTrie<T>[]): void {
  const leaf = node.literals === undefined && node.one === undefined && node.globs === undefined;
  if (!leaf) for (let from = at; from < segments.length; from++) descend(node, segments, from, found);
  if (node.ends.length > 0) found.push(node);
}

let step = 0;

/**
 * All patterns at once, as a set of nodes per segment: several `**` in a row cost no more than nodes × segments. A leaf
 * stays what it is, so the set is small.
 */
function followAll<T>(root: SegmentTrie<T>, segments: readonly string[]): readonly SegmentTrie<T>[] {
  let active: SegmentTrie<T>[] = [];
  step++;
  activate(root, active);
  for (const text of segments) {
    const next: SegmentTrie<T>[] = [];
    step++;
    for (const node of active) advance(node, text, next);
    active = next;
  }
  return active.filter((node) => node.ends.length > 0);
}

function activate<T>(node: SegmentTrie<T>, into: SegmentTrie<T>[]): void {
  if (node.mark === step) return;
  node.mark = step;
  into.push(node);
  if (node.any !== undefined) activate(node.any, into);
}

function advance<T>(node: SegmentTrie<T>, text: string, into: SegmentTrie<T>[]): void {
  if (node.loops) activate(node, into);
  if (node.literals !== undefined) {
    const literal = node.literals.get(text);
    if (literal !== undefined) activate(literal, into);
  }
  if (node.one !== undefined) activate(node.one, into);
  if (node.globs === undefined) return;
  for (const glob of node.globs) if (matchesParts(glob.parts, text)) activate(glob.node, into);
}

/** Whether a text is these parts with anything between them: leftmost placement decides, in linear time. */
export function matchesParts(parts: readonly string[], text: string): boolean {
  const head = parts[0] ?? "";
  const tail = parts[parts.length - 1] ?? "";
  if (parts.length === 1) return text === head;
  if (text.length < head.length + tail.length || !text.startsWith(head) || !text.endsWith(tail)) return false;
  let at = head.length;
  for (let index = 1; index < parts.length - 1; index++) {
    const part = parts[index] ?? "";
    const found = text.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return at <= text.length - tail.length;
}

/** Where an HTTP pattern ends: what else must hold for the request to match. */
export interface HttpEnd<T> {
  readonly method: string;
  /** A trailing slash is part of the pattern (`/a/`), absent from it (`/a`), or free (`/a/**`). */
  readonly slash: "absent" | "present" | "free";
  readonly value: T;
}

export type HttpTrie<T> = SegmentTrie<HttpEnd<T>>;

/**
 * Adds an HTTP pattern with its templates filled. `/a/b` and `/a/b/` are two paths unless `anySlash`, which a deny asks
 * for: upstreams often serve both, so a deny of one covers the other.
 */
export function addHttpPattern<T>(
  trie: HttpTrie<T>,
  pattern: HttpPattern,
  segments: readonly FilledSegment[],
  value: T,
  anySlash = false,
): void {
  const free = anySlash || segments.at(-1)?.kind === "any";
  const slash = free ? "free" : pattern.source.endsWith("/") ? "present" : "absent";
  addPattern(trie, segments, { method: pattern.method, slash, value });
}

/** What the patterns that match stand for, appended to `out`. HEAD is not implied by GET. */
export function collectHttp<T>(
  trie: HttpTrie<T>,
  method: string,
  path: Extract<ReturnType<typeof parsePath>, { readonly ok: true }>,
  out: T[],
): void {
  const other = path.trailingSlash ? "absent" : "present";
  for (const node of findEnds(trie, path.segments)) {
    for (const end of node.ends) {
      if (end.slash !== other && (end.method === method || end.method === "*")) out.push(end.value);
    }
  }
}
