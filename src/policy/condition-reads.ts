import type { parse } from "@bufbuild/cel";

export type ParsedCondition = ReturnType<typeof parse>;
export type Expr = ParsedCondition["expr"];

const roots: ReadonlySet<string> = new Set(["job", "request", "change", "environment", "runner", "approval"]);

/**
 * What an expression reads: `variable.field` names, and `now`, in order of appearance. `plain` is false where a variable
 * is used in any other way (as a whole, by index, under `has`), by which absence could be told from a value.
 */
export function readsOf(root: Expr): { readonly names: readonly string[]; readonly plain: boolean } {
  const names = new Set<string>();
  const waiting: Expr[] = [root];
  let plain = true;
  for (let expr = waiting.pop(); expr !== undefined; expr = waiting.pop()) {
    const read = fieldOf(expr);
    if (read !== undefined) names.add(read.name);
    if (expr.exprKind.case === "identExpr" && expr.exprKind.value.name === "now") names.add("now");
    plain &&= read === undefined ? isPlain(expr) : !read.tested;
    // In reverse, so that they are popped as they were written.
    if (read === undefined) waiting.push(...partsOf(expr).toReversed());
  }
  return { names: [...names], plain };
}

function fieldOf({ exprKind }: Expr): { readonly name: string; readonly tested: boolean } | undefined {
  if (exprKind.case !== "selectExpr") return undefined;
  const { operand, field, testOnly } = exprKind.value;
  const name = operand?.exprKind.case === "identExpr" ? operand.exprKind.value.name : undefined;
  return name !== undefined && roots.has(name) ? { name: `${name}.${field}`, tested: testOnly } : undefined;
}

function isPlain({ exprKind }: Expr): boolean {
  if (exprKind.case === "identExpr") return !roots.has(exprKind.value.name);
  // A loop variable that hides a variable would be taken for it.
  if (exprKind.case === "comprehensionExpr")
    return !roots.has(exprKind.value.iterVar) && exprKind.value.iterVar !== "now";
  return exprKind.case !== "structExpr";
}

function partsOf({ exprKind }: Expr): readonly Expr[] {
  const present = (...parts: readonly unknown[]) => parts.filter((part) => part !== undefined) as Expr[];
  switch (exprKind.case) {
    case "selectExpr":
      return present(exprKind.value.operand);
    case "callExpr":
      return present(exprKind.value.target, ...exprKind.value.args);
    case "listExpr":
      return present(...exprKind.value.elements);
    case "comprehensionExpr": {
      const { iterRange, accuInit, loopCondition, loopStep, result } = exprKind.value;
      return present(iterRange, accuInit, loopCondition, loopStep, result);
    }
    default:
      return [];
  }
}
