import { parse } from "@bufbuild/cel";
import { ConditionChecker } from "./condition-checker.ts";
import { conditionSpans, type Expr, type ParsedCondition } from "./condition-spans.ts";
import { bracketProblem, conditionTokens, type Token, tokenAt } from "./condition-tokens.ts";
import type { Problem } from "./findings.ts";
import type { ConditionModel } from "./model.ts";

const maxBytes = 4096;
const maxNodes = 500;
const maxBrackets = 24;

export type CheckedCondition =
  | { readonly ok: true; readonly condition: Omit<ConditionModel, "place"> }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * A condition with what it reads, type-checked: a boolean over the variables of `conditionScope`, of at most 4 KiB, 500 parts
 * and two nested loops. Every mistake in its types is reported, with offsets into `source`.
 */
export function checkCondition(source: string): CheckedCondition {
  const tooBig = checkSize(source);
  if (tooBig) return { ok: false, problems: [tooBig] };
  const tokens = conditionTokens(source);
  const bracket = checkBrackets(tokens);
  if (bracket) return { ok: false, problems: [bracket] };
  let parsedSource: ParsedCondition;
  try {
    parsedSource = parse(source);
  } catch (error) {
    return { ok: false, problems: [syntaxProblem(error, source, tokens)] };
  }
  if (countNodes(parsedSource.expr) > maxNodes) {
    return {
      ok: false,
      problems: [whole(source, "condition_too_big", `more than ${maxNodes} parts`, "split the role in two")],
    };
  }
  const checker = new ConditionChecker(conditionSpans(source, parsedSource));
  checker.wantBool(parsedSource.expr, checker.type(parsedSource.expr), "a condition");
  if (checker.problems.length > 0) return { ok: false, problems: checker.problems };
  const { readsRequest, readsNow } = checker;
  return { ok: true, condition: { source, facts: [...checker.facts].sort(), readsRequest, readsNow } };
}

function whole(source: string, code: string, message: string, help: string): Problem {
  return { code, message, at: 0, length: Math.max(1, source.length), help };
}

function checkSize(source: string): Problem | undefined {
  if (source.trim() === "") return whole(source, "condition_syntax", "an empty condition", "leave `when` out");
  if (Buffer.byteLength(source) <= maxBytes) return undefined;
  return whole(source, "condition_too_big", "the condition is larger than 4 KiB", "split the role in two");
}

function checkBrackets(tokens: readonly Token[]): Problem | undefined {
  const found = bracketProblem(tokens, maxBrackets);
  if (!found) return undefined;
  const { token, problem } = found;
  const at = { at: token.start, length: token.end - token.start };
  if (problem === "deep") {
    return {
      code: "condition_too_big",
      message: `brackets nested deeper than ${maxBrackets}`,
      ...at,
      help: "write it flatter",
    };
  }
  const message = problem === "open" ? `this ${token.text} is never closed` : `this ${token.text} closes nothing`;
  return { code: "condition_syntax", message, ...at, help: problem === "open" ? "close it" : "take it out" };
}

const words: Readonly<Record<string, string>> = {
  and: "write && for and",
  or: "write || for or",
  not: "write ! for not",
  "=": "write == to compare",
  "&": "write &&",
  "|": "write ||",
  ";": "a condition is one expression",
};

/** The parser stops where its last complete reading ended; what is wrong is mostly a token there or the last one. */
function syntaxProblem(error: unknown, source: string, tokens: readonly Token[]): Problem {
  const code = "condition_syntax";
  const strange = tokens.find((token) => Object.hasOwn(words, token.text));
  if (strange) {
    const help = words[strange.text] ?? "";
    return {
      code,
      message: `"${strange.text}" has no place here`,
      at: strange.start,
      length: strange.text.length,
      help,
    };
  }
  const last = tokens.at(-1);
  if (last && /^(&&|\|\||[=!<>]=|[-+*/%<>!.,?:]|in)$/.test(last.text)) {
    const message = `something is missing after "${last.text}"`;
    return { code, message, at: last.start, length: last.text.length, help: "complete it, or take it out" };
  }
  const quote = tokens.find((token) => token.text === '"' || token.text === "'");
  const token = quote ?? tokenAt(tokens, offsetOf(error)) ?? last;
  const at = token?.start ?? 0;
  const length = token ? token.end - token.start : source.length;
  if (quote) return { code, message: "this quote is never closed", at, length, help: "close it" };
  if (error instanceof Error && error.message.includes("reserved")) {
    return { code, message: `"${token?.text}" is a reserved word`, at, length, help: "choose another name" };
  }
  return {
    code,
    message: "this is not CEL from here on",
    at,
    length,
    help: 'for example change.merged && job.ref == "main"',
  };
}

function offsetOf(error: unknown): number {
  if (typeof error !== "object" || error === null || !("location" in error)) return 0;
  const { location } = error as { location?: { start?: { offset?: unknown } } };
  return typeof location?.start?.offset === "number" ? location.start.offset : 0;
}

/** Parts of an expression, without recursion: the text may chain thousands. */
function countNodes(root: Expr): number {
  const waiting: Expr[] = [root];
  const wait = (...parts: readonly (Expr | undefined)[]) => waiting.push(...parts.filter((part) => part !== undefined));
  let count = 0;
  while (waiting.length > 0 && count <= maxNodes) {
    const kind = waiting.pop()?.exprKind;
    count++;
    if (kind?.case === "selectExpr") wait(kind.value.operand);
    else if (kind?.case === "callExpr") wait(kind.value.target, ...kind.value.args);
    else if (kind?.case === "listExpr") wait(...kind.value.elements);
    else if (kind?.case === "comprehensionExpr") {
      const { iterRange, accuInit, loopCondition, loopStep, result } = kind.value;
      wait(iterRange, accuInit, loopCondition, loopStep, result);
    }
  }
  return count;
}
