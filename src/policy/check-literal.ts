import { isCelError, run } from "@bufbuild/cel";

/** What is wrong with text that a condition gives to a function. */
export interface LiteralProblem {
  readonly code: string;
  readonly message: string;
  readonly help: string;
}

/** Proves the written-out argument of a function by using it once: a pattern, a time, a duration or a time zone. */
export function literalProblem(name: string, text: string): LiteralProblem | undefined {
  if (name === "matches") return regexProblem(text);
  const written = JSON.stringify(text);
  const zone = name.startsWith("get");
  if (evaluates(zone ? `timestamp("2026-01-01T00:00:00Z").${name}(${written})` : `${name}(${written})`))
    return undefined;
  const message = `${written} is not a ${zone ? "time zone" : name}`;
  return { code: "condition_types", message, help: `for example ${examples[name] ?? '"Europe/Berlin"'}` };
}

const examples: Readonly<Record<string, string>> = { timestamp: '"2026-01-31T09:00:00Z"', duration: '"1h30m"' };

function evaluates(expression: string): boolean {
  try {
    return !isCelError(run(expression));
  } catch {
    return false; // what cannot even be parsed cannot be used
  }
}

/**
 * What is wrong with the pattern of `matches`, or undefined. CEL finds a pattern anywhere in the text, so one that is not held
 * at both ends would accept `acme/shop-evil` for `acme/shop`.
 */
function regexProblem(pattern: string): LiteralProblem | undefined {
  const anchored = pattern.startsWith("^") && /(^|[^\\])(\\\\)*\$$/.test(pattern);
  // With the flag m, ^ and $ hold at every line.
  const lines = /\(\?[a-zA-Z-]*m[a-zA-Z-]*[:)]/.test(pattern);
  if (!anchored || lines || hasBareAlternative(pattern)) {
    const help = "write ^(…)$ around all of it";
    return { code: "regex_unanchored", message: "this pattern may match in the middle of a text", help };
  }
  if (evaluates(`"".matches(${JSON.stringify(pattern)})`)) return undefined;
  return {
    code: "regex_invalid",
    message: "this is not an RE2 pattern",
    help: "RE2 has no look-around and no back-references",
  };
}

/** True for `^a|b$`, where each end holds only one side. */
function hasBareAlternative(pattern: string): boolean {
  let depth = 0;
  let inClass = false;
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at];
    if (character === "\\") at++;
    else if (inClass) inClass = character !== "]";
    else if (character === "[") inClass = true;
    else if (character === "(") depth++;
    else if (character === ")") depth--;
    else if (character === "|" && depth <= 0) return true;
  }
  return false;
}
