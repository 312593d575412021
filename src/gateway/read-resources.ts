import { type Document, isNode, LineCounter, parseAllDocuments } from "yaml";
import type { Diagnostic, Place } from "../policy/model.ts";

/** Anything read from a file and not yet known to be of a form. */
export type Loose = Readonly<Record<string, unknown>>;

/** One resource of a file: what it says, and where. */
export interface ReadResource {
  readonly kind: string;
  readonly name: string;
  /** `default` where it names none. */
  readonly namespace: string;
  readonly value: Loose;
  /** Where the value at this path stands; where there is none, the nearest one above. */
  place(path: readonly (string | number)[]): Place;
}

export interface TextFile {
  readonly file: string;
  readonly text: string;
}

/** The resources of YAML files, lists taken apart; what cannot be read is `resource_syntax`. Never throws. */
export function readResources(files: readonly TextFile[]): {
  readonly resources: readonly ReadResource[];
  readonly diagnostics: readonly Diagnostic[];
} {
  const resources: ReadResource[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const { file, text } of files) {
    const lines = new LineCounter();
    const documents = parseAllDocuments(text, {
      lineCounter: lines,
      version: "1.1",
      uniqueKeys: true,
      maxAliasCount: 100,
    } as object);
    for (const document of Array.isArray(documents) ? documents : []) {
      const [error] = document.errors;
      if (error === undefined) resources.push(...resourcesOf(document, file, lines));
      else diagnostics.push(syntax(file, lines, error.pos[0], error.message));
    }
  }
  return { resources, diagnostics };
}

function syntax(file: string, lines: LineCounter, offset: number, message: string): Diagnostic {
  const { line, col } = lines.linePos(offset);
  return {
    severity: "error",
    code: "resource_syntax",
    message: `this is not YAML: ${message.split("\n")[0]}`,
    place: { file, line: Math.max(1, line), column: Math.max(1, col), length: 1 },
    help: "correct it; nothing in this document was looked at",
  };
}

function resourcesOf(document: Document, file: string, lines: LineCounter): ReadResource[] {
  const value = asMap(document.toJS());
  const items = /List$/.test(String(value.kind)) ? asList(value.items) : undefined;
  const found =
    items === undefined
      ? [{ value, base: [] }]
      : items.map((item, at) => ({ value: asMap(item), base: ["items", at] }));
  return found
    .filter((one) => Object.keys(one.value).length > 0)
    .map((one): ReadResource => {
      const metadata = asMap(one.value.metadata);
      return {
        kind: String(one.value.kind ?? ""),
        name: String(metadata.name ?? ""),
        namespace: String(metadata.namespace ?? "default"),
        value: one.value,
        place: (path) => placeOf(document, [...one.base, ...path], file, lines),
      };
    });
}

function placeOf(document: Document, path: readonly (string | number)[], file: string, lines: LineCounter): Place {
  for (let length = path.length; length >= 0; length--) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (!isNode(node) || !node.range) continue;
    const [start, end] = node.range;
    const { line, col } = lines.linePos(start);
    const next = lines.linePos(end);
    const lineEnd = next.line === line ? end : (lines.lineStarts[line] ?? end) - 1;
    return { file, line, column: col, length: Math.max(1, lineEnd - start) };
  }
  return { file, line: 1, column: 1, length: 1 };
}

export function asMap(value: unknown): Loose {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Loose) : {};
}

export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export const asTexts = (value: unknown): readonly string[] => asList(value).map(String);

/** A finding with its place. */
export function finding(
  code: string,
  place: Place,
  message: string,
  help: string,
  severity: Diagnostic["severity"] = "error",
): Diagnostic {
  return { severity, code, message, place, help };
}

/** By file, line, column and code; each once. */
export function sortedFindings(found: readonly Diagnostic[]): Diagnostic[] {
  const unique = new Map(found.map((one) => [JSON.stringify([one.code, one.place]), one]));
  return [...unique.values()].toSorted(
    (a, b) =>
      compare(a.place.file, b.place.file) ||
      a.place.line - b.place.line ||
      a.place.column - b.place.column ||
      compare(a.code, b.code),
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
