import { type CelInput, celEnv, isCelError, parse, plan, unparse } from "@bufbuild/cel";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { FactUse } from "../core/decision.ts";
import { type Fact, type Facts, type FactValue, factTable } from "../core/fact.ts";
import type { JobIdentity, Kind } from "../core/identity.ts";
import type { Operation } from "../core/target.ts";
import { type Expr, type ParsedCondition, readsOf } from "./condition-reads.ts";
import type { jobFields, requestFields } from "./condition-scope.ts";
import type { ConditionModel } from "./model.ts";

/**
 * `missing`: the value hangs on a fact that is absent or stale. `error`: on something else that has no value, such as an
 * absent claim. In a role neither holds; in a deny both apply.
 */
export type Verdict = "true" | "false" | "missing" | "error";

/** One top-level `&&` part. */
export interface Conjunct {
  readonly source: string;
  /** `change.merged`, `job.ref`, in order of appearance. */
  readonly reads: readonly string[];
  readonly facts: readonly string[];
  /** Undefined: no value, or none that is a boolean. */
  readonly run: (bindings: Bindings) => boolean | undefined;
}

export interface Condition {
  readonly model: ConditionModel;
  readonly conjuncts: readonly Conjunct[];
  readonly facts: readonly string[];
  /** Reads `request` or `now`: its value cannot be kept from one request to the next. */
  readonly changing: boolean;
}

export interface ConditionResult {
  readonly verdict: Verdict;
  /** For `missing`: the first fact that is. */
  readonly missing?: string;
  /** By conjunct. */
  readonly parts: readonly Verdict[];
}

/** The last result of one condition for one job, and the fact values it followed from. */
export interface ConditionMemo {
  values: readonly (FactValue | undefined)[] | undefined;
  result: ConditionResult | undefined;
}

export interface ConditionInput {
  readonly job: Bindings["job"];
  readonly target: string;
  readonly operation: Operation;
  readonly facts: Facts;
  /** ms since the epoch. */
  readonly now: number;
}

type Values = Readonly<Record<string, CelInput>>;
type Bindings = Record<string, CelInput> & { readonly job: { [key: string]: CelInput } };

const env = celEnv();

/**
 * The condition, planned once per top-level conjunct. The source was checked before; what still cannot be parsed, or looks
 * at a variable as a whole (so that it could tell absence from a value), never has a value.
 */
export function compileCondition(model: ConditionModel): Condition {
  let conjuncts: readonly Conjunct[];
  try {
    const parsed = parse(model.source);
    conjuncts = split(parsed.expr).map((expr) => compileConjunct(expr, parsed));
  } catch {
    conjuncts = [{ source: model.source, reads: [], facts: [], run: () => undefined }];
  }
  const facts = [...new Set(conjuncts.flatMap((conjunct) => conjunct.facts))];
  const reads = conjuncts.flatMap((conjunct) => conjunct.reads);
  const changing = reads.some((name) => name === "now" || name.startsWith("request."));
  return { model, conjuncts, facts, changing };
}

function split(expr: Expr): readonly Expr[] {
  const { exprKind } = expr;
  if (exprKind.case !== "callExpr" || exprKind.value.function !== "_&&_") return [expr];
  return exprKind.value.args.flatMap((argument) => split(argument as Expr));
}

function compileConjunct(expr: Expr, parsed: ParsedCondition): Conjunct {
  const { names, plain } = readsOf(expr);
  const program = plan(env, expr);
  return {
    source: unparse({ ...parsed, expr }),
    reads: names,
    facts: names.filter((name) => Object.hasOwn(factTable, name)),
    run: (bindings) => {
      if (!plain) return undefined;
      const value = program(bindings);
      return !isCelError(value) && typeof value === "boolean" ? value : undefined;
    },
  };
}

/** The fact where it is there and fresh: from `staleAt` on it is missing. */
function liveFact(facts: Facts, name: string, now: number): Fact | undefined {
  const fact = Object.hasOwn(facts, name) ? facts[name] : undefined;
  return fact !== undefined && fact.staleAt > now ? fact : undefined;
}

/**
 * What the condition says. Logic is CEL's: `false && missing` is false and `true || missing` is true, everything else that
 * touches a missing fact is missing; so a fact that goes missing never makes a condition true or false that was not.
 */
export function evaluateCondition(
  condition: Condition,
  input: ConditionInput,
  memo: ConditionMemo | undefined,
): ConditionResult {
  const usable = condition.changing ? undefined : memo;
  if (usable?.result !== undefined && sameValues(condition, input, usable)) return usable.result;
  const values = condition.facts.map((name) => liveFact(input.facts, name, input.now)?.value);
  const bindings = bind(condition, values, input);
  const parts = condition.conjuncts.map((conjunct): Verdict => {
    const value = conjunct.run(bindings);
    if (value !== undefined) return value ? "true" : "false";
    return firstMissing(conjunct, input) === undefined ? "error" : "missing";
  });
  const result = conclude(condition, parts, input);
  if (usable) {
    usable.values = values;
    usable.result = result;
  }
  return result;
}

function sameValues(condition: Condition, input: ConditionInput, memo: ConditionMemo): boolean {
  const { facts } = condition;
  for (let at = 0; at < facts.length; at++) {
    if (liveFact(input.facts, facts[at] as string, input.now)?.value !== memo.values?.[at]) return false;
  }
  return true;
}

function conclude(condition: Condition, parts: readonly Verdict[], input: ConditionInput): ConditionResult {
  if (parts.includes("false")) return { verdict: "false", parts };
  const at = parts.indexOf("missing");
  const conjunct = condition.conjuncts[at];
  const missing = conjunct && firstMissing(conjunct, input);
  if (missing !== undefined) return { verdict: "missing", missing, parts };
  return { verdict: parts.includes("error") ? "error" : "true", parts };
}

function firstMissing(conjunct: Conjunct, input: ConditionInput): string | undefined {
  return conjunct.facts.find((name) => liveFact(input.facts, name, input.now) === undefined);
}

function bind(condition: Condition, values: readonly (FactValue | undefined)[], input: ConditionInput): Bindings {
  const groups: Record<string, Record<string, CelInput>> = { change: {}, environment: {}, runner: {}, approval: {} };
  for (const [at, name] of condition.facts.entries()) {
    const value = values[at];
    const dot = name.indexOf(".");
    const group = groups[name.slice(0, dot)];
    if (group !== undefined && value !== undefined) group[name.slice(dot + 1)] = toCel(value);
  }
  const bindings: Bindings = { ...groups, job: input.job };
  if (condition.changing) {
    bindings.request = requestValues(input.target, input.operation);
    bindings.now = timestampFromMs(input.now);
  }
  return bindings;
}

function toCel(value: FactValue): CelInput {
  return typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
}

/** `job` in a condition. A claim the job does not have is absent, and so is a project where its claims name two. */
export function jobValues(identity: JobIdentity, kind: Kind): { [key: string]: CelInput } {
  const { attributes } = identity;
  const own = (field: string) => (Object.hasOwn(attributes, field) ? attributes[field] : undefined);
  const one = (field: string, value: string) => {
    const claims = own(field);
    return Array.isArray(claims) && claims.some((claim) => claim !== value) ? undefined : value;
  };
  const scalar = (field: string) => {
    const value = own(field);
    return typeof value === "object" ? undefined : value;
  };
  const values: Record<keyof typeof jobFields, string | boolean | undefined> = {
    project: one("project", identity.project.path),
    project_id: one("project_id", identity.project.id),
    ref: identity.ref,
    ref_type: identity.refType,
    ref_protected: scalar("ref_protected"),
    environment: identity.environment,
    source: scalar("source") ?? scalar("event_name"),
    pipeline_id: identity.pipelineId,
    id: identity.job.id,
    name: identity.job.name,
    kind,
    issuer: identity.issuer,
    sha: identity.sha,
    user: identity.triggeredBy?.id,
  };
  return present(values);
}

function requestValues(target: string, operation: Operation): { [key: string]: CelInput } {
  const { kind } = operation;
  const values: Record<keyof typeof requestFields, string | undefined> = {
    method: kind === "http" ? operation.method : operation.verb,
    path: kind === "http" ? operation.path : undefined,
    host: kind === "http" ? operation.host : undefined,
    subject: kind === "nats" ? operation.subject : undefined,
    queue: kind === "nats" ? operation.queue : undefined,
    target,
  };
  return present(values);
}

function present(values: Readonly<Record<string, string | boolean | undefined>>): { [key: string]: CelInput } {
  const entries = Object.entries(values).filter((entry): entry is [string, string | boolean] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}

/** Facts that a refusal needs to speak of a merge request: the names, and these where any fact of a change is among them. */
export function withExplaining(names: Iterable<string>): ReadonlySet<string> {
  const all = new Set(names);
  const change = [...all].some((name) => name.startsWith("change."));
  return change ? all.add("change.iid").add("change.state") : all;
}

/** The live ones of the named facts, by name, as a decision records them. */
export function factUses(names: Iterable<string>, facts: Facts, now: number): readonly FactUse[] {
  const uses: FactUse[] = [];
  for (const name of [...new Set(names)].sort()) {
    const fact = liveFact(facts, name, now);
    if (fact === undefined) continue;
    const ageMs = Math.max(0, now - fact.observedAt);
    uses.push({ name, value: fact.value, ageMs, ...(fact.claimed === true ? { claimed: true } : {}) });
  }
  return uses;
}

/** The values a conjunct looked at, as text: the job's own claims and facts of its own project. Undefined where none is there. */
export function foundValues(conjunct: Conjunct, input: ConditionInput): string | undefined {
  const values: { readonly name: string; readonly text: string }[] = [];
  for (const name of conjunct.reads) {
    const text = name.startsWith("job.") ? ownText(input.job, name.slice(4)) : factText(input, name);
    if (text !== undefined) values.push({ name, text });
  }
  if (values.length > 1) return values.map(({ name, text }) => `${name} is ${text}`).join(", ");
  return values[0]?.text;
}

function ownText(job: Values, field: string): string | undefined {
  const value = Object.hasOwn(job, field) ? job[field] : undefined;
  return typeof value === "string" || typeof value === "boolean" ? String(value) : undefined;
}

function factText(input: ConditionInput, name: string): string | undefined {
  const value = liveFact(input.facts, name, input.now)?.value;
  return value === undefined ? undefined : String(value);
}
