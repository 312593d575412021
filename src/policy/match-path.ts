import type { ParsedPath } from "../core/path.ts";
import type { HttpPattern, PathSegment } from "./model.ts";

/** A segment whose templates are filled. */
export type FilledSegment = Exclude<PathSegment, { readonly kind: "template" }>;

/**
 * Patterns over segments, merged so that one search finds every pattern a text matches. Most nodes have one way on and one
 * pattern that ends there; these stand in the node itself, and the rest in `more`: thousands of jobs have tries of their
 * own, and what a search costs is how much memory it touches.
 */
export interface SegmentTrie<T> {
  /** The first literal, and where it leads. */
  text: string | undefined;
  next: SegmentTrie<T> | undefined;
  end: T | undefined;
  /** What ends here with `**`. */
  rest: T | undefined;
  /** `:name` and `*`. */
  one: SegmentTrie<T> | undefined;
  /** `**` with more behind it: the node below stays active over any number of segments. */
  any: SegmentTrie<T> | undefined;
  more: More<T> | undefined;
}

interface More<T> {
  /** Other literals and where they lead, by index; in a map as well once they are many. */
  texts: string[];
  nodes: SegmentTrie<T>[];
  index: Map<string, SegmentTrie<T>> | undefined;
  globs: { readonly parts: readonly string[]; readonly node: SegmentTrie<T> }[];
  ends: T[];
  rests: T[];
  /** Under a `**`. */
  readonly loops: boolean;
  /** On the root: some pattern has more than one `**`. */
  nested: boolean;
}

export function segmentTrie<T>(): SegmentTrie<T> {
  return {
    text: undefined,
    next: undefined,
    end: undefined,
    rest: undefined,
    one: undefined,
    any: undefined,
    more: undefined,
  };
}

// Stands for an empty list until there is something to put into it.
const none: never[] = [];
Object.freeze(none);

const added = <I>(list: I[], item: I): I[] => {
  if (list === (none as readonly unknown[])) return [item];
  list.push(item);
  return list;
};

function moreOf<T>(node: SegmentTrie<T>, loops = false): More<T> {
  const empty = { texts: none, nodes: none, index: undefined, globs: none, ends: none, rests: none };
  node.more ??= { ...empty, loops, nested: false };
  return node.more;
}

/** Adds a pattern. The same pattern may be added any number of times. */
export function addPattern<T>(root: SegmentTrie<T>, segments: readonly FilledSegment[], end: T): void {
  const resting = segments.at(-1)?.kind === "any";
  let node = root;
  for (const segment of resting ? segments.slice(0, -1) : segments) node = child(node, segment);
  if (resting) {
    if (node.rest === undefined) node.rest = end;
    else moreOf(node).rests = added(moreOf(node).rests, end);
  } else if (node.end === undefined) node.end = end;
  else moreOf(node).ends = added(moreOf(node).ends, end);
  if (segments.filter((segment) => segment.kind === "any").length > 1) moreOf(root).nested = true;
}

function child<T>(node: SegmentTrie<T>, segment: FilledSegment): SegmentTrie<T> {
  switch (segment.kind) {
    case "literal":
      return literalChild(node, segment.text);
    case "glob":
      return segment.parts.every((part) => part === "") ? oneChild(node) : globChild(node, segment.parts);
    case "param":
      return oneChild(node);
    case "any":
      return node.more?.loops ? node : anyChild(node); // `**/**` is `**`
  }
}

function oneChild<T>(node: SegmentTrie<T>): SegmentTrie<T> {
  node.one ??= segmentTrie<T>();
  return node.one;
}

function anyChild<T>(node: SegmentTrie<T>): SegmentTrie<T> {
  if (node.any === undefined) {
    node.any = segmentTrie<T>();
    moreOf(node.any, true);
  }
  return node.any;
}

/** Up to here a search through a list is quicker than one in a map. */
const fewLiterals = 8;

function literalChild<T>(node: SegmentTrie<T>, text: string): SegmentTrie<T> {
  if (node.next === undefined) {
    node.text = text;
    node.next = segmentTrie<T>();
  }
  if (node.text === text) return node.next;
  const more = moreOf(node);
  const known = otherLiteral(more, text);
  if (known !== undefined) return known;
  const fresh = segmentTrie<T>();
  more.texts = added(more.texts, text);
  more.nodes = added(more.nodes, fresh);
  if (more.index !== undefined) more.index.set(text, fresh);
  else if (more.texts.length > fewLiterals) {
    more.index = new Map(more.texts.map((one, at) => [one, more.nodes[at] as SegmentTrie<T>]));
  }
  return fresh;
}

function otherLiteral<T>(more: More<T>, text: string): SegmentTrie<T> | undefined {
  return more.index === undefined ? more.nodes[more.texts.indexOf(text)] : more.index.get(text);
}

function globChild<T>(node: SegmentTrie<T>, parts: readonly string[]): SegmentTrie<T> {
  const more = moreOf(node);
  const known = more.globs.find((glob) => glob.parts.join("*") === parts.join("*"))?.node;
  if (known) return known;
  const fresh = segmentTrie<T>();
  more.globs = added(more.globs, { parts, node: fresh });
  return fresh;
}

/** What every pattern that the whole of `segments` matches stands for, in no particular order. */
export function findMatches<T>(root: SegmentTrie<T>, segments: readonly string[]): readonly T[] {
  const found: T[] = [];
  if (root.more?.nested) followAll(root, segments, found);
  else descend(root, segments, 0, found);
  return found;
}

function takeEnds<T>(node: SegmentTrie<T>, found: T[]): void {
  if (node.end !== undefined) found.push(node.end);
  if (node.more !== undefined) for (const end of node.more.ends) found.push(end);
}

function takeRests<T>(node: SegmentTrie<T>, found: T[]): void {
  if (node.rest !== undefined) found.push(node.rest);
  if (node.more !== undefined) for (const end of node.more.rests) found.push(end);
}

/** Depth first. With one `**` on a way down no node is reached twice, so this is linear in segments for each pattern. */
function descend<T>(node: SegmentTrie<T>, segments: readonly string[], at: number, found: T[]): void {
  takeRests(node, found);
  // What follows a `**` may begin at any later segment; nothing ends at one, since a last `**` is a rest.
  if (node.any !== undefined) {
    for (let from = at; from < segments.length; from++) step(node.any, segments, from, found);
  }
  if (at === segments.length) takeEnds(node, found);
  else step(node, segments, at, found);
}

function step<T>(node: SegmentTrie<T>, segments: readonly string[], at: number, found: T[]): void {
  const text = segments[at] as string;
  if (node.text === text && node.next !== undefined) descend(node.next, segments, at + 1, found);
  if (node.one !== undefined) descend(node.one, segments, at + 1, found);
  if (node.more === undefined) return;
  const literal = otherLiteral(node.more, text);
  if (literal !== undefined) descend(literal, segments, at + 1, found);
  for (const glob of node.more.globs) if (matchesParts(glob.parts, text)) descend(glob.node, segments, at + 1, found);
}

/** All patterns at once, as a set of nodes per segment: several `**` in a row cost no more than nodes × segments. */
function followAll<T>(root: SegmentTrie<T>, segments: readonly string[], found: T[]): void {
  const rested = new Set<SegmentTrie<T>>();
  let active = new Set<SegmentTrie<T>>();
  activate(root, active, rested);
  for (const text of segments) {
    const next = new Set<SegmentTrie<T>>();
    for (const node of active) advance(node, text, next, rested);
    active = next;
  }
  for (const node of active) takeEnds(node, found);
  for (const node of rested) takeRests(node, found);
}

type Nodes<T> = Set<SegmentTrie<T>>;

/** Once a node with a rest was reached, it matches whatever follows. */
function activate<T>(node: SegmentTrie<T> | undefined, into: Nodes<T>, rested: Nodes<T>): void {
  if (node === undefined) return;
  into.add(node);
  if (node.rest !== undefined) rested.add(node);
  if (node.any !== undefined) activate(node.any, into, rested);
}

function advance<T>(node: SegmentTrie<T>, text: string, into: Nodes<T>, rested: Nodes<T>): void {
  if (node.more?.loops) activate(node, into, rested);
  if (node.text === text) activate(node.next, into, rested);
  activate(node.one, into, rested);
  if (node.more === undefined) return;
  activate(otherLiteral(node.more, text), into, rested);
  for (const glob of node.more.globs) if (matchesParts(glob.parts, text)) activate(glob.node, into, rested);
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

/** What must hold besides the segments for a request to match an HTTP pattern. */
export interface HttpEnd {
  /** Upper-case, or `*`. */
  readonly method: string;
  /** A trailing slash is part of the pattern (`/a/`), absent from it (`/a`), or free (`/a/**`). */
  readonly slash: "absent" | "present" | "free";
}

/**
 * Where a pattern ends. `/a/b` and `/a/b/` are two paths unless `anySlash`, which a deny asks for: upstreams often serve
 * both, so a deny of one covers the other.
 */
export function httpEnd(pattern: HttpPattern, anySlash = false): HttpEnd {
  const free = anySlash || pattern.segments.at(-1)?.kind === "any";
  return { method: pattern.method, slash: free ? "free" : pattern.source.endsWith("/") ? "present" : "absent" };
}

/** The ends of the HTTP patterns that a request matches. HEAD is not implied by GET. */
export function matchHttp<T extends HttpEnd>(
  trie: SegmentTrie<T>,
  method: string,
  path: Extract<ParsedPath, { readonly ok: true }>,
): readonly T[] {
  const other = path.trailingSlash ? "absent" : "present";
  const ends = findMatches(trie, path.segments);
  const fits = (end: T) => end.slash !== other && (end.method === method || end.method === "*");
  for (const end of ends) if (!fits(end)) return ends.filter(fits);
  return ends;
}
