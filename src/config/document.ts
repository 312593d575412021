import { isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from "yaml";
import type { Diagnostic, Place } from "./diagnostic.ts";

export type KeyPath = readonly PropertyKey[];

/** A YAML file as plain data that still knows where each thing stands. */
export interface ConfigDocument {
  /** Plain data; undefined where the text is no YAML. */
  readonly value: unknown;
  readonly problems: readonly Diagnostic[];
  /** Place of the value at `path`, or of the nearest thing around it that exists. */
  valueAt(path: KeyPath): Place;
  /** Place of the last key of `path` itself. */
  keyAt(path: KeyPath): Place;
}

/** Reads YAML 1.2. Anchors and aliases are refused: nothing here needs them, and they can be cyclic or explode. */
export function readDocument(text: string, file: string): ConfigDocument {
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, stringKeys: true });
  const place = (start: number, end: number): Place => {
    const { line, col } = lines.linePos(start);
    const firstLine = text.slice(start, Math.max(end, start + 1)).split("\n")[0] ?? "";
    return { file, line, column: col, length: Math.max(1, firstLine.trimEnd().length) };
  };
  const problem = (code: string, message: string, range: readonly number[], help: string): Diagnostic => ({
    severity: "error",
    code,
    message,
    place: place(range[0] ?? 0, range[1] ?? 0),
    help,
  });
  const problems = doc.errors
    .filter(({ code }) => code === "DUPLICATE_KEY")
    .map(({ pos }) => problem("duplicate_key", "this key stands here twice", pos, "keep one of them"));
  // One slip makes the parser stumble over everything that follows: only the first is worth saying.
  const syntax = doc.errors.find(({ code }) => code !== "DUPLICATE_KEY");
  if (syntax !== undefined) {
    problems.push(
      problem("yaml_syntax", syntax.message.replace(/\.$/, ""), syntax.pos, syntaxHelp(text, syntax.pos[0])),
    );
  }
  visit(doc, {
    Alias: (_, alias) => {
      problems.push(problem("alias_refused", "aliases are not read", alias.range ?? [0, 0], "write the value out"));
    },
  });
  const rangeOf = (node: unknown): readonly number[] => (node as Node | null)?.range ?? doc.contents?.range ?? [0, 0];
  return {
    value: problems.length > 0 ? undefined : doc.toJS(),
    problems,
    valueAt(path) {
      const [start = 0, end = 0] = rangeOf(walk(doc.contents, path).node);
      return place(start, end);
    },
    keyAt(path) {
      const { key, node } = walk(doc.contents, path);
      const [start = 0, end = 0] = rangeOf(key ?? node);
      return place(start, end);
    },
  };
}

/** Follows `path` as far as the document goes. `key` is the last key taken, when the whole path exists. */
function walk(root: unknown, path: KeyPath): { readonly node: unknown; readonly key?: unknown } {
  let node = root;
  let key: unknown;
  for (const part of path) {
    let next: unknown;
    key = undefined;
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === part);
      // A key without a value has no range of its own.
      next = pair?.value ?? pair?.key;
      key = pair?.key;
    } else if (isSeq(node) && typeof part === "number") {
      next = node.items[part];
    }
    if (next === undefined || next === null) return { node };
    node = next;
  }
  return { node, key };
}

function syntaxHelp(text: string, at: number): string {
  const line = text.slice(text.lastIndexOf("\n", at - 1) + 1).split("\n")[0] ?? "";
  return line.includes("${")
    ? 'between { and }, write "${NAME}" with quotes'
    : "correct the YAML here; what follows was not checked";
}
