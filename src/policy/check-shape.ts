import { z } from "zod";
import type { Findings } from "./findings.ts";
import { type Path, placeOf, placeOfKey, type Source } from "./source.ts";
import { suggest } from "./suggest.ts";

type Issue = z.core.$ZodIssue;

/**
 * The value at `path` as the schema reads it, or undefined. Every mistake is reported at its place; optional parts that are
 * wrong are then left out and the rest is read all the same, so that one run finds what there is to find.
 */
export function checkShape<T extends z.ZodType>(
  schema: T,
  value: unknown,
  source: Source,
  path: Path,
  findings: Findings,
): z.infer<T> | undefined {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.flatMap(flatten);
  const context = { schema, value, source, path, findings };
  const meant = new Set(issues.flatMap((issue) => misspelled(issue, context)));
  for (const issue of issues) if (!meant.has(issue.path.join("/"))) report(issue, context);
  const rest = prune(value, issues);
  const second = rest === undefined ? undefined : schema.safeParse(rest);
  return second?.success ? second.data : undefined;
}

interface Context {
  readonly schema: z.ZodType;
  readonly value: unknown;
  readonly source: Source;
  readonly path: Path;
  readonly findings: Findings;
}

/** Paths of keys that are there under a wrong name: they are not missing as well. */
function misspelled(issue: Issue, { schema }: Context): string[] {
  if (issue.code !== "unrecognized_keys") return [];
  const known = keysAt(schema, issue.path as Path);
  return issue.keys.flatMap((key) => {
    const near = suggest(key, known);
    return near === undefined ? [] : [[...issue.path, near].join("/")];
  });
}

/** Of a union, the branch that got inside the value says what is wrong; where none did, the whole value is. */
function flatten(issue: Issue): Issue[] {
  if (issue.code !== "invalid_union") return [issue];
  const inside = issue.errors
    .map((branch) =>
      branch.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }) as Issue).flatMap(flatten),
    )
    .find((branch) => branch.length > 0 && branch.every((inner) => isInside(inner, issue.path.length)));
  return inside ?? [issue];
}

function isInside(issue: Issue, depth: number): boolean {
  return issue.path.length > depth || issue.code === "unrecognized_keys" || issue.code === "too_small";
}

function report(issue: Issue, context: Context): void {
  const { source, findings } = context;
  const inner = issue.path as (string | number)[];
  const path = [...context.path, ...inner];
  const found = valueAt(context.value, inner);
  const key = String(path.at(-1) ?? "");
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(context.schema, inner);
    for (const unknown of issue.keys) {
      const value = valueAt(context.value, [...inner, unknown]);
      const split = value === null && /\s/.test(unknown);
      const help = split
        ? "put the text before it in quotes: inside { } a comma ends it"
        : findings.near(unknown, known);
      findings.error("unknown_key", placeOfKey(source, [...path, unknown]), `unknown key "${unknown}"`, { help });
    }
  } else if (found === undefined) {
    const help = `add ${key}: ${hint(context.schema, inner)}`;
    findings.error("missing_key", placeOfKey(source, path.slice(0, -1)), `"${key}" is missing`, { help });
  } else if (issue.code === "invalid_value") {
    const help =
      typeof found === "string" ? findings.near(found, issue.values.map(String)) : `known: ${issue.values.join(", ")}`;
    findings.error("unknown_value", placeOf(source, path), `${describe(found)} is not a value of "${key}"`, { help });
  } else if (issue.code === "too_small") {
    findings.error("empty_list", placeOf(source, path), `"${key}" holds nothing`, {
      help: "add an entry, or leave the key out",
    });
  } else {
    const help = fix(found, context.schema, inner);
    const message = `"${key}" must be ${expected(context.schema, inner)}, not ${describe(found)}`;
    findings.error("wrong_type", placeOf(source, path), message, { help });
  }
}

function fix(found: unknown, schema: z.ZodType, path: Path): string {
  const words = expected(schema, path);
  const written = schemasAt(schema, path).some((one) => one.meta()?.pattern !== undefined);
  if (typeof found === "number" && !written && /text/.test(words)) return `put it in quotes: "${found}"`;
  if (typeof found !== "object" && words.startsWith("a list")) return `write [${String(found)}]`;
  return `for example ${hint(schema, path)}`;
}

function describe(value: unknown): string {
  if (value === null) return "empty";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "string") return `"${value.length > 40 ? `${value.slice(0, 40)}…` : value}"`;
  return typeof value === "object" ? "a map" : `the ${typeof value} ${String(value)}`;
}

/** What may stand at a path, in words. */
function expected(schema: z.ZodType, path: Path): string {
  const words = [...new Set(schemasAt(schema, path).flatMap(kinds))];
  const last = words.pop() ?? "something else";
  return words.length > 0 ? `${words.join(", ")} or ${last}` : last;
}

function kinds(schema: z.ZodType): string[] {
  if (schema instanceof z.ZodString) return ["text"];
  if (schema instanceof z.ZodBoolean) return ["true", "false"];
  if (schema instanceof z.ZodNumber) return ["a number"];
  if (schema instanceof z.ZodArray) return ["a list"];
  if (schema instanceof z.ZodObject || schema instanceof z.ZodRecord) return ["a map"];
  if (schema instanceof z.ZodLiteral) return [...schema.values].map(String);
  if (schema instanceof z.ZodEnum) return ["text"];
  return [];
}

/** Something that could stand at the path. */
function hint(schema: z.ZodType, path: Path): string {
  return example(describedAt(schema, path), 2);
}

function example(schemas: readonly z.ZodType[], depth: number): string {
  const given = schemas.map((one) => one.meta()?.examples).find((examples) => Array.isArray(examples));
  if (Array.isArray(given) && given.length > 0) return JSON.stringify(given[0]).replaceAll('"', "");
  const options = schemas.find((one) => one instanceof z.ZodEnum);
  if (options instanceof z.ZodEnum) return String(options.options[0]);
  const map = schemas.find((one) => one instanceof z.ZodObject);
  if (map instanceof z.ZodObject && depth > 0) {
    const needed = Object.entries(map.shape as Record<string, z.ZodType>).filter(
      ([, one]) => !(one instanceof z.ZodOptional),
    );
    const parts = needed.map(([key, one]) => `${key}: ${example(open(one), depth - 1)}`);
    return parts.length > 0 ? `{ ${parts.join(", ")} }` : "{ … }";
  }
  if (schemas.some((one) => one instanceof z.ZodArray)) return "[…]";
  return schemas.some((one) => one instanceof z.ZodString) ? "text" : "{ name: … }";
}

/** The keys a map at the path may have. */
function keysAt(schema: z.ZodType, path: Path): string[] {
  return schemasAt(schema, path).flatMap((one) => (one instanceof z.ZodObject ? Object.keys(one.shape) : []));
}

function schemasAt(schema: z.ZodType, path: Path): z.ZodType[] {
  return describedAt(schema, path).filter((one) => !(one instanceof z.ZodUnion));
}

function describedAt(schema: z.ZodType, path: Path): z.ZodType[] {
  let level = open(schema);
  for (const step of path) level = level.flatMap((one) => child(one, step)).flatMap(open);
  return level;
}

/** The schema and what it wraps. */
function open(schema: z.ZodType): z.ZodType[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) return open(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodUnion) return [schema, ...(schema.options as z.ZodType[]).flatMap(open)];
  return [schema];
}

function child(schema: z.ZodType, step: string | number): z.ZodType[] {
  if (schema instanceof z.ZodObject) {
    const shape = schema.shape as Record<string, z.ZodType>;
    const named = Object.hasOwn(shape, step) ? shape[step] : (schema.def.catchall as z.ZodType | undefined);
    return named ? [named] : [];
  }
  if (schema instanceof z.ZodRecord) return [schema.valueType as z.ZodType];
  return schema instanceof z.ZodArray ? [schema.element as z.ZodType] : [];
}

function valueAt(value: unknown, path: Path): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<string | number, unknown>)[step];
  }
  return current;
}

/** A copy without the wrong parts; undefined where that would shift the items of a list. */
function prune(value: unknown, issues: readonly Issue[]): unknown {
  const copy: unknown = structuredClone(value);
  for (const issue of issues) {
    const path = issue.path as (string | number)[];
    const keys = issue.code === "unrecognized_keys" ? issue.keys : [path.at(-1)];
    const owner = valueAt(copy, issue.code === "unrecognized_keys" ? path : path.slice(0, -1));
    if (typeof owner !== "object" || owner === null || Array.isArray(owner)) return undefined;
    for (const key of keys) delete (owner as Record<string, unknown>)[String(key)];
  }
  return copy;
}
