import { literalProblem } from "./check-literal.ts";
import { type ConditionType, conditionScope } from "./condition-scope.ts";
import type { ConditionSpans, Expr, KindOf, Span } from "./condition-spans.ts";
import { symbolOf } from "./condition-tokens.ts";
import {
  article,
  binaryType,
  fits,
  functions,
  isList,
  itemOf,
  join,
  listOf,
  operatorHelp,
  signature,
} from "./condition-types.ts";
import type { Problem } from "./findings.ts";
import { didYouMean } from "./suggest.ts";

const variables = [...conditionScope.keys(), "now"];
const macros = ["all", "exists", "exists_one", "map", "filter"];
const maxNesting = 2;

/** What a condition reads and everything wrong with its types. One check, one object; `problems` is in no order. */
export class ConditionChecker {
  readonly problems: Problem[] = [];
  readonly facts = new Set<string>();
  readsRequest = false;
  readsNow = false;
  readonly #spans: ConditionSpans;
  /** Types of the variables that macros bring, innermost last. */
  readonly #locals: { readonly name: string; readonly type: ConditionType }[] = [];
  #nesting = 0;

  constructor(spans: ConditionSpans) {
    this.#spans = spans;
  }

  type(expr: Expr): ConditionType {
    const { exprKind } = expr;
    switch (exprKind.case) {
      case "constExpr":
        return this.#constant(expr, exprKind.value);
      case "identExpr":
        return this.#identifier(expr, exprKind.value.name);
      case "selectExpr":
        return this.#select(expr, exprKind.value);
      case "callExpr":
        return this.#call(expr, exprKind.value);
      case "listExpr":
        return this.#list(expr, exprKind.value);
      case "comprehensionExpr":
        return this.#comprehension(expr, exprKind.value);
      default:
        return this.#refuse(
          "condition_unsupported",
          this.#spans.span(expr),
          "maps and messages have no place in a condition",
          "use a list, or several comparisons",
        );
    }
  }

  /** Reports an expression that is not a boolean where one must stand. */
  wantBool(expr: Expr, type: ConditionType, where: string): void {
    if (fits(type, ["bool"])) return;
    const help = type === "string" ? `compare it: … == "…"` : type === "int" ? "compare it: … >= 1" : undefined;
    this.#refuse(
      "condition_not_boolean",
      this.#spans.span(expr),
      `${where} must be true or false, not ${article(type)}`,
      help,
    );
  }

  #constant(expr: Expr, value: KindOf<"constExpr">): ConditionType {
    const { constantKind } = value;
    switch (constantKind.case) {
      case "boolValue":
        return "bool";
      case "stringValue":
        return "string";
      case "doubleValue":
        return "double";
      case "int64Value":
        if (BigInt.asIntN(64, constantKind.value) === constantKind.value) return "int";
        return this.#refuse(
          "condition_types",
          this.#spans.span(expr),
          "the number is too large",
          "at most 9223372036854775807",
        );
      default:
        return this.#refuse(
          "condition_unsupported",
          this.#spans.span(expr),
          "null, bytes and unsigned numbers have no place here",
        );
    }
  }

  #identifier(expr: Expr, name: string): ConditionType {
    const local = this.#locals.findLast((one) => one.name === name);
    if (local) return local.type;
    if (name === "now") {
      this.readsNow = true;
      return "timestamp";
    }
    const fields = conditionScope.get(name);
    if (fields) {
      const help = `one of: ${Object.keys(fields)
        .map((field) => `${name}.${field}`)
        .join(", ")}`;
      return this.#refuse("condition_types", this.#spans.span(expr), `"${name}" by itself has no value`, help);
    }
    const help = didYouMean(
      name,
      [...variables, ...this.#locals.map((one) => one.name)].filter((known) => !known.startsWith("@")),
    );
    return this.#refuse("condition_unknown", this.#spans.span(expr), `no variable "${name}"`, help);
  }

  #select(expr: Expr, value: KindOf<"selectExpr">): ConditionType {
    const { operand, field, testOnly } = value;
    if (testOnly) {
      const help = "leave it out: where it is missing, a role does not apply and a deny does";
      return this.#refuse("condition_has", this.#spans.span(expr), "has() is not needed", help);
    }
    const name = operand?.exprKind.case === "identExpr" ? operand.exprKind.value.name : undefined;
    const fields = name === undefined || this.#isLocal(name) ? undefined : conditionScope.get(name);
    if (name === undefined || !fields) {
      const type = operand ? this.type(operand) : "error";
      if (type === "error") return type;
      return this.#refuse("condition_unknown", this.#spans.word(expr, field), `${article(type)} has no fields`);
    }
    const type = Object.hasOwn(fields, field) ? fields[field] : undefined;
    if (type === undefined) {
      const help = didYouMean(field, Object.keys(fields));
      return this.#refuse(
        "condition_unknown",
        this.#spans.word(expr, field),
        `"${name}" has no field "${field}"`,
        help,
      );
    }
    if (name === "request") this.readsRequest = true;
    else if (name !== "job") this.facts.add(`${name}.${field}`);
    return type;
  }

  #call(expr: Expr, value: KindOf<"callExpr">): ConditionType {
    const [first, second, third] = value.args;
    switch (value.function) {
      case "@not_strictly_false":
        return "bool";
      case "_&&_":
      case "_||_":
        for (const side of value.args) this.wantBool(side, this.type(side), `each side of ${symbolOf(value.function)}`);
        return "bool";
      case "!_":
        for (const side of value.args) this.wantBool(side, this.type(side), "what follows !");
        return "bool";
      case "-_":
        return first ? this.#negative(expr, this.type(first)) : "error";
      case "_?_:_":
        return first && second && third ? this.#choice(expr, first, second, third) : "error";
      case "_[_]":
        return first && second ? this.#index(expr, first, second) : "error";
    }
    if (symbolOf(value.function) === undefined || !first || !second) return this.#function(expr, value);
    return this.#binary(expr, value.function, this.type(first), this.type(second));
  }

  #binary(expr: Expr, operator: string, a: ConditionType, b: ConditionType): ConditionType {
    if (a === "error" || b === "error")
      return ["_+_", "_-_", "_*_", "_/_", "_%_"].includes(operator) ? "error" : "bool";
    const type = binaryType(operator, a, b);
    if (type !== undefined) return type;
    const symbol = symbolOf(operator);
    const message = `${symbol} between ${article(a)} and ${article(b)}`;
    return this.#refuse("condition_types", this.#spans.span(expr), message, operatorHelp(operator, a, b));
  }

  #negative(expr: Expr, type: ConditionType): ConditionType {
    if (fits(type, ["int", "double", "duration"])) return type;
    return this.#refuse(
      "condition_types",
      this.#spans.span(expr),
      `- before ${article(type)}`,
      type === "bool" ? "use !" : undefined,
    );
  }

  #choice(expr: Expr, test: Expr, yes: Expr, no: Expr): ConditionType {
    this.wantBool(test, this.type(test), "what stands before ?");
    const [a, b] = [this.type(yes), this.type(no)];
    const type = join(a, b);
    if (type !== undefined) return type;
    return this.#refuse(
      "condition_types",
      this.#spans.span(expr),
      `${article(a)} or ${article(b)}`,
      "both sides of : have one type",
    );
  }

  #index(expr: Expr, list: Expr, index: Expr): ConditionType {
    const [type, at] = [this.type(list), this.type(index)];
    if (type === "error" || at === "error") return "error";
    if (isList(type) && at === "int") return itemOf(type);
    return this.#refuse(
      "condition_types",
      this.#spans.span(expr),
      `[] on ${article(type)} with ${article(at)}`,
      "a list and a number",
    );
  }

  #list(expr: Expr, value: KindOf<"listExpr">): ConditionType {
    let item: ConditionType = "dyn";
    for (const element of value.elements) {
      const type = this.type(element);
      const joined = join(item, type);
      if (joined === undefined) {
        const message = `${article(type)} in a list of ${item}s`;
        return this.#refuse("condition_types", this.#spans.span(element), message, "the items of a list have one type");
      }
      item = joined;
    }
    return value.elements.length > 64
      ? this.#refuse("condition_too_big", this.#spans.span(expr), "more than 64 items", "use a selector's list")
      : listOf(item);
  }

  #function(expr: Expr, value: KindOf<"callExpr">): ConditionType {
    const name = value.function;
    const known = functions.get(name);
    if (!known) return this.#unknownFunction(expr, name);
    // `size` is the one function that is written both ways.
    const takes = known.on ? [known.on, ...known.takes] : known.takes;
    const args = value.target ? [value.target, ...value.args] : value.args;
    const wrongForm = known.on ? !value.target : value.target !== undefined && name !== "size";
    if (wrongForm || args.length > takes.length || args.length < takes.length - (known.optional ?? 0)) {
      return this.#refuse(
        "condition_types",
        this.#spans.span(expr),
        `${name} is not called like this`,
        signature(name, known),
      );
    }
    for (const [index, argument] of args.entries()) {
      const type = this.type(argument);
      if (fits(type, takes[index] ?? [])) continue;
      const message = `${name} does not take ${article(type)}`;
      return this.#refuse("condition_types", this.#spans.span(argument), message, signature(name, known));
    }
    const last = value.args.at(-1);
    if (known.literal && last) this.#literal(name, last);
    return known.gives;
  }

  #unknownFunction(expr: Expr, name: string): ConditionType {
    const macro = macros.includes(name) || name === "has";
    const help = macro ? "for example [1, 2].exists(x, x == 1)" : didYouMean(name, [...functions.keys(), ...macros]);
    const message = macro ? `${name} is not written like this` : `no function "${name}"`;
    return this.#refuse("condition_unknown", this.#spans.word(expr, name), message, help);
  }

  /** Arguments that are patterns, times and zones must be written out: then they can be proven now. */
  #literal(name: string, argument: Expr): void {
    const span = this.#spans.span(argument);
    const constant = argument.exprKind.case === "constExpr" ? argument.exprKind.value.constantKind : undefined;
    if (constant?.case !== "stringValue") {
      this.#refuse("condition_not_literal", span, `${name} needs text that is written out`, "write it in quotes");
      return;
    }
    const problem = literalProblem(name, constant.value);
    if (problem) this.#refuse(problem.code, span, problem.message, problem.help);
  }

  #comprehension(expr: Expr, value: KindOf<"comprehensionExpr">): ConditionType {
    const { iterRange, accuInit, loopCondition, loopStep, result, iterVar, accuVar } = value;
    if (!iterRange || !accuInit || !loopCondition || !loopStep || !result) return "error";
    const range = this.type(iterRange);
    if (conditionScope.has(iterVar) || iterVar === "now" || this.#isLocal(iterVar)) {
      return this.#refuse(
        "condition_shadows",
        this.#spans.span(expr),
        `"${iterVar}" already has a meaning`,
        "choose another name",
      );
    }
    if (!fits(range, ["list"])) {
      return this.#refuse(
        "condition_types",
        this.#spans.span(iterRange),
        `${article(range)} has no items`,
        "only lists have",
      );
    }
    if (this.#nesting >= maxNesting) {
      return this.#refuse(
        "condition_too_big",
        this.#spans.span(expr),
        `loops nested deeper than ${maxNesting}`,
        "write it flatter",
      );
    }
    const before = this.problems.length;
    this.#nesting++;
    this.#locals.push(
      { name: accuVar, type: this.type(accuInit) },
      { name: iterVar, type: isList(range) ? itemOf(range) : range },
    );
    const step = this.type(loopStep);
    this.#locals.splice(-2, 2, { name: accuVar, type: step });
    const type = this.type(result);
    this.#locals.pop();
    this.#nesting--;
    return this.problems.length > before ? "error" : type;
  }

  #isLocal(name: string): boolean {
    return this.#locals.some((one) => one.name === name);
  }

  #refuse(code: string, [start, end]: Span, message: string, help?: string): "error" {
    this.problems.push({
      code,
      message,
      at: start,
      length: Math.max(1, end - start),
      ...(help === undefined ? {} : { help }),
    });
    return "error";
  }
}
