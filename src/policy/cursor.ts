import { parseDocument } from "yaml";

/** Names that a policy's files give, as far as they can be read while somebody types. */
export interface PolicyNames {
  readonly targets: ReadonlyMap<string, unknown>;
  readonly who: ReadonlyMap<string, unknown>;
  readonly roles: ReadonlyMap<string, unknown>;
  readonly events: ReadonlyMap<string, unknown>;
}

/** Never throws: a file that is half written gives what can be read of it. */
export function namesIn(texts: readonly string[]): PolicyNames {
  const sections = { targets: new Map(), who: new Map(), roles: new Map(), events: new Map() };
  for (const text of texts) {
    const root = plainOf(text);
    for (const [section, names] of Object.entries(sections)) {
      const written = root[section];
      if (typeof written !== "object" || written === null || Array.isArray(written)) continue;
      for (const [name, value] of Object.entries(written)) names.set(name, value);
    }
  }
  return sections;
}

function plainOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = parseDocument(text, { logLevel: "silent", uniqueKeys: false }).toJS({ maxAliasCount: 0 });
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {}; // aliases, which policy refuses anyway
  }
}

const keyForm = /^(\s*(?:- +)*)(?:"([^"]*)"|'([^']*)'|([^\s#:{}[\],"'][^:{}[\],]*?))\s*:(?=\s|$)/;

/**
 * The keys above a place, outermost first, read from indentation and open brackets alone, so that it works in what does not
 * parse yet: `["roles", "release", "allow"]`. `line` and `character` count from 0, in UTF-16 units.
 */
export function keysAt(text: string, line: number, character: number): readonly string[] {
  const lines = text.split("\n");
  const before = (lines[line] ?? "").slice(0, character);
  const own = keyForm.exec(before);
  const inner = flowKeys(own === null ? before : before.slice(own[0].length));
  const indent = (own?.[1] ?? /^\s*(?:- +)*/.exec(before)?.[0] ?? "").length;
  const keys = own === null ? [...inner] : [nameOf(own), ...inner];
  let bound = indent;
  for (let at = line - 1; at >= 0 && bound > 0; at--) {
    const found = keyForm.exec(lines[at] ?? "");
    if (found === null || (found[1] ?? "").length >= bound) continue;
    keys.unshift(nameOf(found));
    bound = (found[1] ?? "").length;
  }
  return keys;
}

const nameOf = ([, , double, single, plain]: RegExpExecArray): string => double ?? single ?? plain ?? "";

/** Keys of the brackets that are still open at the end of a line's text. */
function flowKeys(text: string): readonly string[] {
  const open: string[] = [];
  let last = "";
  for (const [token] of text.matchAll(/"[^"]*"?|'[^']*'?|[{}[\],:]|[^\s{}[\],:"']+/g)) {
    if (token === "{" || token === "[") open.push(last);
    else if (token === "}" || token === "]") open.pop();
    if (token === "{" || token === "[" || token === ",") last = "";
    else if (token !== ":") last = token.replaceAll(/["']/g, "");
  }
  const value = /:\s*$|:\s+[^\s{}[\],]*$/.test(text) && last !== "" ? [keyBefore(text)] : [];
  return [...open.filter((key) => key !== ""), ...value];
}

/** The key whose value is being written at the end of the text. */
function keyBefore(text: string): string {
  return /([\w-]+)\s*:\s*[^\s{}[\],:]*$/.exec(text)?.[1] ?? "";
}

/** The word around a place: letters, digits, `_`, `-` and `.`. */
export function wordAt(
  text: string,
  line: number,
  character: number,
): { readonly word: string; readonly from: number } {
  const written = text.split("\n")[line] ?? "";
  const head = /[\w.-]*$/.exec(written.slice(0, character))?.[0] ?? "";
  const tail = /^[\w.-]*/.exec(written.slice(character))?.[0] ?? "";
  return { word: head + tail, from: character - head.length };
}
