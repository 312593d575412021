import { Lexer, type YAMLParseError } from "yaml";

const maxFileBytes = 1024 * 1024;
const maxTokens = 500_000;
const maxFlowDepth = 32;

interface TextProblem {
  readonly code: string;
  readonly message: string;
  readonly at: number;
  readonly length: number;
  readonly help: string;
}

// C0 and C1 controls but tab and line ends, lone surrogates, and the characters that make text read other than it is.
const refusedCharacter =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\p{Surrogate}/u;

/** What is wrong with a file before it is read as YAML: too large, not plain text, or nested so that reading it would be slow. */
export function checkText(text: string): TextProblem | undefined {
  if (text.length > maxFileBytes || Buffer.byteLength(text) > maxFileBytes) {
    return problem("file_too_big", "the file is larger than 1 MiB", 0, "split it: several files merge into one policy");
  }
  const character = refusedCharacter.exec(text);
  if (character) {
    const code = character[0].codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0");
    return problem("character_refused", `the invisible character U+${code} is refused`, character.index, "delete it");
  }
  const tab = /^ *\t/m.exec(text);
  if (tab) return problem("yaml_tab", "a tab cannot indent YAML", tab.index + tab[0].length - 1, "use spaces");
  const directive = /^%[^\n]*/.exec(text);
  if (directive) return problem("yaml_directive", "a directive has no place in policy", 0, "delete the line");
  return checkTokens(text);
}

/** Bounds what the YAML composer will be given: it recurses for each level and builds an error for each bad token. */
function checkTokens(text: string): TextProblem | undefined {
  let tokens = 0;
  let depth = 0;
  for (const { token, at } of lex(text)) {
    if (++tokens > maxTokens) {
      return problem(
        "file_too_big",
        "the file holds too many values",
        at,
        "split it: several files merge into one policy",
      );
    }
    if (token === "[" || token === "{") depth++;
    if (token === "]" || token === "}") depth--;
    if (depth > maxFlowDepth) {
      const help = "nothing in a policy needs that; look for a bracket too many";
      return problem("yaml_too_deep", `brackets nested deeper than ${maxFlowDepth} levels`, at, help);
    }
  }
  return undefined;
}

/** The tokens with their offsets. */
function* lex(text: string): Generator<{ readonly token: string; readonly at: number }> {
  let at = 0;
  for (const token of new Lexer().lex(text)) {
    yield { token, at };
    // The lexer marks document, scalar and flow ends with control characters that are not in the text.
    if (token !== "\u0002" && token !== "\u0018" && token !== "\u001f") at += token.length;
  }
}

const compact = ["a second key on one line", 'text that holds ": " needs quotes'] as const;
const lost = ["this stands where nothing can", "look at the quotes and brackets before it"] as const;
const bracket = ["a bracket is not closed before here", "close it, or indent what is inside it"] as const;

/** What to say for the codes of the YAML reader, whose own words are for people who write readers. */
const syntaxProblems: Readonly<Record<string, readonly [message: string, help: string, code?: string]>> = {
  MULTIPLE_DOCS: ["a second document starts here", "one file holds one document; use two files", "yaml_documents"],
  TAB_AS_INDENT: ["a tab cannot indent YAML", "use spaces", "yaml_tab"],
  RESOURCE_EXHAUSTION: ["nested too deeply to read", "look for a bracket too many", "yaml_too_deep"],
  BAD_ALIAS: ["a * that begins a value means an alias", 'put the value in quotes: "* /path"', "yaml_alias"],
  BLOCK_AS_IMPLICIT_KEY: compact,
  BLOCK_IN_FLOW: ["lines with dashes or indentation inside { } or [ ]", "close the bracket first"],
  BAD_SCALAR_START: ["no value begins with this character", "put the value in quotes"],
  BAD_DQ_ESCAPE: ["not an escape", "write two backslashes, or use single quotes"],
  BAD_INDENT: bracket,
  MISSING_CHAR: ["something is missing before here", "look for a colon, comma or bracket that was left out"],
  MULTILINE_IMPLICIT_KEY: ["a key is not followed by its colon", 'write "key: value"'],
  UNEXPECTED_TOKEN: lost,
};

/** What the YAML reader stumbled over, where a reader of the file would look for it. */
export function syntaxError({ code, message, pos }: YAMLParseError, text: string): TextProblem {
  const at = Math.min(pos[0], Math.max(0, text.trimEnd().length - 1));
  if (code === "MISSING_CHAR" && /closing .*quote/.test(message)) {
    const quote = [...lex(text)].findLast((one) => one.at < pos[0] && /^["']/.test(one.token));
    const help = "close it on the same line";
    return { code: "yaml_syntax", message: "this quote is never closed", at: quote?.at ?? at, length: 1, help };
  }
  if (code === "BAD_INDENT" && !/flow/i.test(message)) {
    const help = "begin it in the column of the entries above";
    return { code: "yaml_syntax", message: "this is indented unlike what it belongs to", at, length: 1, help };
  }
  const [words, help, own = "yaml_syntax"] = syntaxProblems[code] ?? lost;
  return { code: own, message: words, at, length: Math.max(1, pos[1] - pos[0]), help };
}

function problem(code: string, message: string, at: number, help: string): TextProblem {
  return { code, message, at, length: 1, help };
}
