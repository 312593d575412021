import type { JobIdentity, Vocabulary } from "../core/identity.ts";
import { addPattern, findMatches, type SegmentTrie, segmentTrie } from "./match-path.ts";
import { attributeOf, type CompiledSelector, globSegments, type SelectorUse, valuesOf } from "./match-selector.ts";
import type { SelectorClause, StringPattern } from "./model.ts";

/** A selector and the rule it belongs to. */
export interface IndexedSelector<R> {
  readonly selector: CompiledSelector;
  readonly rule: R;
}

/** Finds the few selectors that can match a job without looking at the others. */
export interface SelectorIndex<R> {
  /** Every selector that matches, and some that do not: the caller checks each. Without duplicates. */
  candidates(identity: JobIdentity): Iterable<IndexedSelector<R>>;
}

interface FieldIndex<R> {
  readonly exact: Map<string, IndexedSelector<R>[]>;
  readonly globs: SegmentTrie<IndexedSelector<R>>;
  /** All of them: in a deny, for jobs without this attribute. */
  readonly all: IndexedSelector<R>[];
}

/** A clause of text alone: what can be a key. */
interface TextClause {
  readonly field: string;
  readonly values: readonly StringPattern[];
}

/** An anchoring field is the key unless more selectors than this share its value and another field tells them apart. */
const crowded = 64;
/** A glob is a worse key than any exact value that is not shared by this many selectors. */
const globWeight = 1000;

/**
 * Each selector is kept under one of its clauses: exact values in a map, globs in a trie over their segments. A job's own
 * values then lead to the selectors that name them, so that finding is flat in the number of roles and projects.
 */
export function indexSelectors<R>(
  entries: readonly IndexedSelector<R>[],
  use: SelectorUse,
  vocabulary: Vocabulary,
): SelectorIndex<R> {
  const uses = countUses(entries);
  const anchors = new Set(
    Object.values(vocabulary).flatMap((fields) => Object.keys(fields).filter((field) => fields[field]?.anchors)),
  );
  const fields = new Map<string, FieldIndex<R>>();
  const unkeyed: IndexedSelector<R>[] = [];
  for (const entry of entries) {
    const clause = keyClause(entry.selector, uses, anchors);
    if (clause === undefined) unkeyed.push(entry);
    else addEntry(fields, clause, entry);
  }
  return {
    candidates: (identity) => {
      const found = new Set(unkeyed);
      for (const [field, index] of fields) lookUp(identity, field, index, use, found);
      return found;
    },
  };
}

function lookUp<R>(
  identity: JobIdentity,
  field: string,
  index: FieldIndex<R>,
  use: SelectorUse,
  found: Set<IndexedSelector<R>>,
): void {
  const attribute = attributeOf(identity, field);
  const values = attribute === undefined ? [] : valuesOf(attribute);
  if (values.length === 0 && use === "deny") for (const entry of index.all) found.add(entry);
  for (const value of values) {
    if (typeof value !== "string") continue;
    for (const entry of index.exact.get(value) ?? []) found.add(entry);
    for (const entry of findMatches(index.globs, value.split("/"))) found.add(entry);
  }
}

function addEntry<R>(fields: Map<string, FieldIndex<R>>, clause: TextClause, entry: IndexedSelector<R>): void {
  let index = fields.get(clause.field);
  if (index === undefined) {
    index = { exact: new Map(), globs: segmentTrie(), all: [] };
    fields.set(clause.field, index);
  }
  index.all.push(entry);
  for (const value of clause.values) {
    if (value.kind === "glob") addPattern(index.globs, globSegments(value), entry);
    else {
      const list = index.exact.get(value.text);
      if (list === undefined) index.exact.set(value.text, [entry]);
      else list.push(entry);
    }
  }
}

const keyOf = (field: string, value: StringPattern) =>
  `${field} ${value.kind} ${value.kind === "exact" ? value.text : value.source}`;

function countUses(entries: readonly IndexedSelector<unknown>[]): ReadonlyMap<string, number> {
  const uses = new Map<string, number>();
  for (const { selector } of entries) {
    for (const clause of selector.model.clauses) {
      for (const value of clause.values) {
        if (typeof value === "boolean") continue;
        const key = keyOf(clause.field, value);
        uses.set(key, (uses.get(key) ?? 0) + 1);
      }
    }
  }
  return uses;
}

function keyClause(
  selector: CompiledSelector,
  uses: ReadonlyMap<string, number>,
  anchors: ReadonlySet<string>,
): TextClause | undefined {
  const clauses = selector.model.clauses
    .flatMap(textClause)
    .map((clause) => ({ clause, weight: weightOf(clause, uses) }));
  clauses.sort((a, b) => a.weight - b.weight || (a.clause.field < b.clause.field ? -1 : 1));
  const anchor = clauses.find(({ clause }) => anchors.has(clause.field));
  return anchor !== undefined && anchor.weight <= crowded ? anchor.clause : clauses[0]?.clause;
}

function textClause({ field, values }: SelectorClause): readonly TextClause[] {
  const texts = values.filter((value) => typeof value !== "boolean");
  return texts.length > 0 && texts.length === values.length ? [{ field, values: texts }] : [];
}

function weightOf(clause: TextClause, uses: ReadonlyMap<string, number>): number {
  return Math.max(
    ...clause.values.map(
      (value) => (uses.get(keyOf(clause.field, value)) ?? 0) + (value.kind === "glob" ? globWeight : 0),
    ),
  );
}
