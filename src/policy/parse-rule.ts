import type { TargetKind } from "../core/target.ts";
import { checkCondition } from "./check-condition.ts";
import type { ConditionModel, OperationModel, SelectorModel } from "./model.ts";
import { parseGrpcMethod } from "./parse-grpc-method.ts";
import { parseOperation } from "./parse-operation.ts";
import { anchorProblem, parseSelector } from "./parse-selector.ts";
import { type Reading, type ReadSelector, take } from "./reading.ts";
import { type Audience, namePattern, type OperationEntry } from "./schema.ts";
import { type Path, placeOf, placeOfKey, placeWithin, type Source } from "./source.ts";

/** What roles and denies have in common. */

/**
 * The selectors of a `for`. In a role each must name a project; in a deny it may be broad, and one that does not say `fork:`
 * also matches forks, since a deny must not be escaped by a fork.
 */
export function readAudience(
  written: Audience,
  rule: "role" | "deny",
  owner: string,
  source: Source,
  path: Path,
  reading: Reading,
): SelectorModel[] {
  const list = Array.isArray(written) ? written : undefined;
  const selectors: SelectorModel[] = [];
  for (const [index, entry] of (list ?? [written as string | Exclude<Audience, unknown[]>]).entries()) {
    const at = list ? [...path, index] : path;
    const read =
      typeof entry === "string"
        ? findWho(entry, source, at, reading)
        : parseSelector(entry, source, at, `${owner}#${index + 1}`, reading);
    if (!read) continue;
    if (rule === "deny") {
      selectors.push(read.saysFork ? read.model : { ...read.model, fork: true });
      continue;
    }
    checkRoleSelector(read.model, typeof entry === "string", source, at, reading);
    selectors.push(read.model);
  }
  return selectors;
}

function findWho(name: string, source: Source, path: Path, reading: Reading): ReadSelector | undefined {
  const who = reading.who.get(name);
  if (!who) {
    const help = reading.findings.near(name, reading.who.keys()) ?? "add it under who, or write a selector here";
    reading.findings.error("who_unknown", placeOf(source, path), `no "${name}" under who`, { help });
  }
  return who?.read;
}

function checkRoleSelector(
  selector: SelectorModel,
  byName: boolean,
  source: Source,
  path: Path,
  reading: Reading,
): void {
  const place = placeOf(source, path);
  const note = byName ? `${selector.name} is at ${selector.place.file}:${selector.place.line}` : undefined;
  const problem = anchorProblem(selector, reading);
  if (problem) reading.findings.error("selector_too_broad", place, problem.message, { help: problem.help, note });
  if (selector.kind !== "person") return;
  const help = "people sign in to the CLI and the dashboard; a role is for jobs and agents";
  reading.findings.error("selector_never_matches", place, "no job can ever match this selector", {
    help,
    note,
    label: "a job is never a person",
  });
}

/** The condition at `path`, or undefined with everything wrong with it reported inside its text. */
export function readCondition(
  written: string | undefined,
  source: Source,
  path: Path,
  reading: Reading,
): ConditionModel | undefined {
  if (written === undefined) return undefined;
  const checked = checkCondition(written);
  if (checked.ok) return { ...checked.condition, place: placeOf(source, path) };
  for (const problem of checked.problems) {
    const place = placeWithin(source, path, problem.at, problem.length);
    reading.findings.error(problem.code, place, problem.message, { help: problem.help });
  }
  return undefined;
}

/** Operations by target name, in a map without a prototype: names are the policy's. */
export function readOperations(
  written: Readonly<Record<string, readonly OperationEntry[]>>,
  rule: "role" | "deny",
  source: Source,
  path: Path,
  reading: Reading,
): Record<string, readonly OperationModel[]> {
  const operations: Record<string, readonly OperationModel[]> = Object.create(null);
  for (const [name, entries] of Object.entries(written)) {
    const target = findTarget(name, source, [...path, name], true, reading);
    if (target?.kind === undefined) continue;
    const { kind } = target;
    const list = entries.flatMap((entry, index) => {
      const at = [...path, name, index];
      if (typeof entry === "object" && "grpc" in entry) return readGrpc(entry, kind, source, at, reading);
      return readOperation(entry, kind, rule, source, at, reading) ?? [];
    });
    warnTwice(list, reading);
    operations[name] = list;
  }
  return operations;
}

function readGrpc(
  { grpc, stream }: Extract<OperationEntry, { readonly grpc: unknown }>,
  kind: TargetKind,
  source: Source,
  path: Path,
  reading: Reading,
): readonly OperationModel[] {
  return grpc.flatMap((method, index) => {
    const at = [...path, "grpc", index];
    const shape = take(parseGrpcMethod(method, kind, stream ?? false), source, at, reading.findings);
    return shape === undefined ? [] : [{ ...shape, place: placeOf(source, at) }];
  });
}

function readOperation(
  entry: Exclude<OperationEntry, { readonly grpc: unknown }>,
  kind: TargetKind,
  rule: "role" | "deny",
  source: Source,
  path: Path,
  reading: Reading,
): OperationModel | undefined {
  const { op, stream } = typeof entry === "string" ? { op: entry, stream: false } : entry;
  const scalar = typeof entry === "string" ? path : [...path, "op"];
  const parsed = parseOperation(op, kind, stream ?? false, reading.variables, rule);
  const shape = take(parsed, source, scalar, reading.findings);
  return shape && { ...shape, place: placeOf(source, scalar) };
}

function warnTwice(operations: readonly OperationModel[], reading: Reading): void {
  const seen = new Set<string>();
  for (const operation of operations) {
    const text = operation.kind === "verb" ? operation.verb : operation.pattern.source;
    if (seen.has(text)) {
      reading.findings.warn("operation_twice", operation.place, "this operation is here twice", {
        help: "leave one out",
      });
    }
    seen.add(text);
  }
}

/** The target of that name; an unknown one is reported at its key or its value. */
export function findTarget(name: string, source: Source, path: Path, key: boolean, reading: Reading) {
  const target = reading.targets.get(name);
  if (target) return target;
  const place = key ? placeOfKey(source, path) : placeOf(source, path);
  const help = reading.findings.near(name, reading.targets.keys()) ?? "add it under targets";
  reading.findings.error("target_unknown", place, `no target "${name}"`, { help });
  return undefined;
}

const nameForm = new RegExp(namePattern);

/** Reports a name that cannot stand in a token, a SPIFFE ID or a command line. */
export function checkName(name: string, place: ReturnType<typeof placeOf>, reading: Reading): void {
  if (nameForm.test(name)) return;
  const tidy = name
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, "-")
    .replace(/^[-_]+|[-_]+$/g, "")
    .slice(0, 63);
  const help =
    tidy === "" ? "lower-case letters, digits, - and _" : `write ${tidy}: lower-case letters, digits, - and _`;
  reading.findings.error("name_invalid", place, `"${name}" cannot be a name`, { help });
}
