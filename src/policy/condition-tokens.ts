/** One token of a condition's text; offsets are UTF-16 units. */
export interface Token {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

const pattern = new RegExp(
  [
    /[ \t\r\n\f]+|\/\/[^\n]*/, // white space and comments
    /[rRbB]{0,2}(?:""".*?"""|'''.*?''')/s,
    /(?:[rR][bB]?|[bB][rR])(?:"[^"\n]*"|'[^'\n]*')/,
    /[bB]?(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')/,
    /0x[0-9a-fA-F]+u?|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?u?/,
    /[A-Za-z_]\w*/,
    /&&|\|\||==|!=|<=|>=|./su,
  ]
    .map((part) => part.source)
    .join("|"),
  "suy",
);

/** The tokens of a condition, never failing: a character that starts no token is one by itself. */
export function conditionTokens(source: string): Token[] {
  const tokens: Token[] = [];
  pattern.lastIndex = 0;
  for (let match = pattern.exec(source); match !== null; match = pattern.exec(source)) {
    const [text] = match;
    if (!/^(\s|\/\/)/.test(text)) tokens.push({ text, start: match.index, end: match.index + text.length });
    if (pattern.lastIndex >= source.length) break;
  }
  return tokens;
}

const symbols: Readonly<Record<string, string>> = { "@in": "in", "_&&_": "&&", "_||_": "||" };

/** How a binary operator is written, by the parser's name for it: `_>=_` is `>=`; undefined for anything else. */
export function symbolOf(name: string): string | undefined {
  return symbols[name] ?? /^_([-+*/%<>]|[=!<>]=)_$/.exec(name)?.[1];
}

/** The first token that ends after an offset. */
export function tokenAt(tokens: readonly Token[], offset: number): Token | undefined {
  return tokens.find((token) => token.end > offset);
}

const closing: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

/** The token that closes the bracket at `index`, or the last token. */
export function closingToken(tokens: readonly Token[], index: number): Token | undefined {
  let depth = 0;
  for (let at = index; at < tokens.length; at++) {
    const text = tokens[at]?.text ?? "";
    if (Object.hasOwn(closing, text)) depth++;
    else if (text === ")" || text === "]" || text === "}") depth--;
    if (depth === 0) return tokens[at];
  }
  return tokens.at(-1);
}

/** The first bracket that is not closed, or closes nothing, or that opens deeper than `maxDepth`. */
export function bracketProblem(
  tokens: readonly Token[],
  maxDepth: number,
): { readonly token: Token; readonly problem: "open" | "close" | "deep" } | undefined {
  const open: Token[] = [];
  for (const token of tokens) {
    if (Object.hasOwn(closing, token.text)) {
      open.push(token);
      if (open.length > maxDepth) return { token, problem: "deep" };
    } else if (token.text === ")" || token.text === "]" || token.text === "}") {
      const opened = open.pop();
      if (opened === undefined || closing[opened.text] !== token.text) return { token, problem: "close" };
    }
  }
  const last = open.at(-1);
  return last ? { token: last, problem: "open" } : undefined;
}
