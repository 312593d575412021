import { WayleaveError } from "../../core/errors.ts";

/** An NGINX variable by its name without `$`. */
export interface Variable {
  readonly variable: string;
}

/** The condition of an `if`: the variable holds exactly this text. */
export interface Condition {
  readonly variable: string;
  readonly equals: string;
}

/** Text is literal, whatever it holds. Variables are written as such, alone or between pieces of text. */
export type Argument = string | Variable | Condition | readonly (string | Variable)[];

export interface Directive {
  readonly name: string;
  readonly args: readonly Argument[];
  readonly block?: readonly Statement[];
}

/** A comment; each line gets its own `#`. */
export interface Comment {
  readonly comment: string;
}

export type Statement = Directive | Comment;

/** A simple directive: `directive("internal")`. */
export function directive(name: string, ...args: Argument[]): Directive {
  return { name, args };
}

/** A block directive: `block("location", ["=", "/x"], [...])`. */
export function block(name: string, args: readonly Argument[], statements: readonly Statement[]): Directive {
  return { name, args, block: statements };
}

export function variable(name: string): Variable {
  return { variable: name };
}

/**
 * The configuration as text: the only place that writes NGINX syntax. Throws `render_refused` for text that NGINX cannot
 * hold literally: `$` (it has no escape), line breaks and other control characters.
 */
export function printNginx(statements: readonly Statement[]): string {
  return lines(statements, "").join("\n").concat("\n");
}

function lines(statements: readonly Statement[], indent: string): string[] {
  return statements.flatMap((statement, index) => {
    if ("comment" in statement)
      return statement.comment.split("\n").map((text) => `${indent}# ${printable(text)}`.trimEnd());
    const head = `${indent}${[statement.name, ...statement.args.map(argument)].join(" ")}`;
    if (statement.block === undefined) return [`${head};`];
    const body = [`${head} {`, ...lines(statement.block, `${indent}    `), `${indent}}`];
    const next = statements[index + 1];
    return next === undefined ? body : [...body, ""];
  });
}

/** Characters that need no quotes anywhere in an argument. */
const bare = /^[A-Za-z0-9_./:=@~^*+,-]+$/;
const variableName = /^[a-z0-9_]+$/;

function argument(value: Argument): string {
  if (typeof value !== "string" && "equals" in value) {
    return `($${checkedName(value)} = "${escaped(value.equals, '"')}")`;
  }
  const pieces = typeof value === "string" || "variable" in value ? [value] : value;
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined && typeof only !== "string") return `$${checkedName(only)}`;
  const text = pieces.filter((piece) => typeof piece === "string").join("");
  if (pieces.every((piece) => typeof piece === "string") && bare.test(text)) return text;
  const quote = text.includes('"') && !text.includes("'") ? "'" : '"';
  const inner = pieces.map((piece) =>
    typeof piece === "string" ? escaped(piece, quote) : `\${${checkedName(piece)}}`,
  );
  return `${quote}${inner.join("")}${quote}`;
}

function escaped(text: string, quote: string): string {
  if (text.includes("$")) {
    throw new WayleaveError(
      "render_refused",
      `NGINX cannot hold a literal "$"; remove it from ${JSON.stringify(text)}.`,
    );
  }
  return printable(text).replaceAll("\\", "\\\\").replaceAll(quote, `\\${quote}`);
}

function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[\u0000-\u001f\u007f]/.test(text)) {
    throw new WayleaveError(
      "render_refused",
      `A configuration value holds a control character: ${JSON.stringify(text)}. Remove it.`,
    );
  }
  return text;
}

function checkedName(piece: Variable): string {
  if (!variableName.test(piece.variable)) throw new TypeError(`not an NGINX variable: ${piece.variable}`);
  return piece.variable;
}
