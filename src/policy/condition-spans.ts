import type { parse } from "@bufbuild/cel";
import { closingToken, conditionTokens, symbolOf, type Token, tokenAt } from "./condition-tokens.ts";

export type ParsedCondition = ReturnType<typeof parse>;
export type Expr = ParsedCondition["expr"];
/** The value of one kind of expression. */
export type KindOf<C extends string> = Extract<Expr["exprKind"], { case: C }>["value"];
/** Start and end in a condition's text, UTF-16 units. */
export type Span = readonly [start: number, end: number];

export interface ConditionSpans {
  /** The text an expression was written as, without brackets around it. */
  span(expr: Expr): Span;
  /** The first occurrence of a word in the expression or after it: a field's or a function's name. */
  word(expr: Expr, text: string): Span;
}

/** Finds what an expression was written as. The parser keeps one offset for each, white space before it included. */
export function conditionSpans(source: string, parsed: ParsedCondition): ConditionSpans {
  const tokens = conditionTokens(source);
  const positions = (parsed.sourceInfo?.positions ?? {}) as Readonly<Record<string, number>>;

  const first = (expr: Expr): Token => {
    const at = positions[String(expr.id)] ?? 0;
    return tokenAt(tokens, at) ?? { text: "", start: at, end: source.length };
  };
  const find = (from: number, text: string) => tokens.find((token) => token.start >= from && token.text === text);
  const end = (expr: Expr) => span(expr)[1];
  const start = (expr: Expr) => span(expr)[0];

  /** To the end of the first bracket that opens at or after `from`. */
  const closed = (from: number): number => {
    const open = tokens.findIndex((token) => token.start >= from && /^[([{]$/.test(token.text));
    return (open === -1 ? undefined : closingToken(tokens, open)?.end) ?? source.length;
  };

  const call = (value: KindOf<"callExpr">, own: Token): Span => {
    const [one] = value.args;
    const last = value.args.at(-1);
    if (one && last && (symbolOf(value.function) || value.function === "_?_:_")) return [start(one), end(last)];
    if (one && last && value.function === "_[_]") return [start(one), closed(own.start)];
    if (one && (value.function === "!_" || value.function === "-_")) return [own.start, end(one)];
    return [value.target ? start(value.target) : own.start, closed(own.start)];
  };

  function span(expr: Expr): Span {
    const own = first(expr);
    const { exprKind } = expr;
    switch (exprKind.case) {
      case "selectExpr": {
        const { operand, field, testOnly } = exprKind.value;
        if (testOnly || !operand) return [own.start, closed(own.start)];
        return [start(operand), find(own.start, field)?.end ?? own.end];
      }
      case "constExpr":
        return [own.start, own.text === "-" ? (tokenAt(tokens, own.end)?.end ?? own.end) : own.end];
      case "listExpr":
      case "structExpr":
        return [own.start, closed(own.start)];
      case "comprehensionExpr":
        return [exprKind.value.iterRange ? start(exprKind.value.iterRange) : own.start, closed(own.start)];
      case "callExpr":
        return call(exprKind.value, own);
      default:
        return [own.start, own.end];
    }
  }

  const word = (expr: Expr, text: string): Span => {
    const token = find(first(expr).start, text);
    return token ? [token.start, token.end] : span(expr);
  };
  return { span, word };
}
