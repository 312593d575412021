import type { Diagnostic, Place } from "../../policy/model.ts";

export interface ConfigArgument {
  /** Without quotes and escapes. */
  readonly text: string;
  readonly place: Place;
}

/** One directive as written. `block` is undefined for a simple one; empty for code in another language. */
export interface ConfigDirective {
  readonly name: string;
  readonly args: readonly ConfigArgument[];
  readonly place: Place;
  readonly block?: readonly ConfigDirective[];
}

export interface ParsedConfig {
  readonly directives: readonly ConfigDirective[];
  /** `config_syntax`, at most one: after it nothing can be relied on. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Parses NGINX's own syntax: quotes, escapes, comments, blocks. `*_by_lua_block` is skipped whole. Includes stay directives. */
export function parseNginxConfig(file: string, text: string): ParsedConfig {
  const cursor = new Cursor(file, text);
  try {
    return { directives: parseBlock(cursor, false), diagnostics: [] };
  } catch (error) {
    if (!(error instanceof SyntaxProblem)) throw error;
    const place = error.place;
    return {
      directives: [],
      diagnostics: [{ severity: "error", code: "config_syntax", message: error.message, place }],
    };
  }
}

class SyntaxProblem extends Error {
  readonly place: Place;
  constructor(message: string, place: Place) {
    super(message);
    this.place = place;
  }
}

/** Where reading stands: an offset with its line and column. */
class Cursor {
  readonly file: string;
  readonly text: string;
  at = 0;
  line = 1;
  column = 1;

  constructor(file: string, text: string) {
    this.file = file;
    this.text = text;
  }

  /** The character here; empty at the end. */
  peek(): string {
    return this.text.charAt(this.at);
  }

  step(count = 1): void {
    for (let left = count; left > 0 && this.at < this.text.length; left--) {
      if (this.peek() === "\n") {
        this.line++;
        this.column = 1;
      } else this.column++;
      this.at++;
    }
  }

  place(length = 1): Place {
    return { file: this.file, line: this.line, column: this.column, length };
  }

  skipBlank(): void {
    for (;;) {
      if (/\s/.test(this.peek())) this.step();
      else if (this.peek() === "#") while (this.peek() !== "\n" && this.peek() !== "") this.step();
      else return;
    }
  }
}

function parseBlock(cursor: Cursor, nested: boolean): ConfigDirective[] {
  const found: ConfigDirective[] = [];
  for (;;) {
    cursor.skipBlank();
    if (cursor.peek() === "}" && nested) {
      cursor.step();
      return found;
    }
    if (cursor.peek() === "" && !nested) return found;
    if (cursor.peek() === "")
      throw new SyntaxProblem('a block is not closed: "}" is missing before the end', cursor.place());
    if (";{}".includes(cursor.peek())) throw new SyntaxProblem(`unexpected "${cursor.peek()}"`, cursor.place());
    found.push(parseDirective(cursor));
  }
}

function parseDirective(cursor: Cursor): ConfigDirective {
  const name = parseArgument(cursor);
  const args: ConfigArgument[] = [];
  for (;;) {
    cursor.skipBlank();
    const char = cursor.peek();
    if (char === ";" || char === "{") {
      const place = span(name.place, args.at(-1)?.place ?? name.place);
      cursor.step();
      if (char === ";") return { name: name.text, args, place };
      if (!name.text.endsWith("_by_lua_block"))
        return { name: name.text, args, place, block: parseBlock(cursor, true) };
      skipCode(cursor);
      return { name: name.text, args, place, block: [] };
    }
    if (char === "" || char === "}") throw new SyntaxProblem(`"${name.text}" is not ended by ";" or "{"`, name.place);
    args.push(parseArgument(cursor));
  }
}

/** From the first to the last; a directive over several lines is underlined on its first. */
function span(first: Place, last: Place): Place {
  return first.line === last.line ? { ...first, length: last.column + last.length - first.column } : first;
}

const escapes: Readonly<Record<string, string>> = { '"': '"', "'": "'", "\\": "\\", t: "\t", r: "\r", n: "\n" };

const quoted = /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'/y;
/** `${` belongs to an argument; any other brace ends it. */
const unquoted = /(?:\$\{|\\[\s\S]|[^\s;{\\])+/y;

function parseArgument(cursor: Cursor): ConfigArgument {
  const start = cursor.place();
  const quote = cursor.peek() === '"' || cursor.peek() === "'";
  const pattern = quote ? quoted : unquoted;
  pattern.lastIndex = cursor.at;
  const raw = pattern.exec(cursor.text)?.[0];
  if (raw === undefined) throw new SyntaxProblem(quote ? "a quote is not closed" : "unexpected end", start);
  cursor.step(raw.length);
  const inner = quote ? raw.slice(1, -1) : raw;
  const text = inner.replace(/\\([\s\S])/g, (whole, char: string) => escapes[char] ?? whole);
  return { text, place: { ...start, length: cursor.line === start.line ? raw.length : 1 } };
}

/** Steps over Lua up to the brace that closes the block; braces in its strings and comments do not count. */
function skipCode(cursor: Cursor): void {
  const start = cursor.place();
  for (let depth = 1; depth > 0; ) {
    const rest = cursor.text.slice(cursor.at);
    if (rest === "") throw new SyntaxProblem('a Lua block is not closed: "}" is missing', start);
    const opaque =
      /^(?:--\[\[[\s\S]*?\]\]|--[^\n]*|\[\[[\s\S]*?\]\]|"(?:[^"\\\n]|\\[\s\S])*"|'(?:[^'\\\n]|\\[\s\S])*')/.exec(rest);
    if (opaque === null) {
      if (cursor.peek() === "{") depth++;
      if (cursor.peek() === "}") depth--;
    }
    cursor.step(opaque?.[0].length ?? 1);
  }
}
