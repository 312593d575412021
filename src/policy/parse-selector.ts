import type { Kind, SelectorField } from "../core/identity.ts";
import type { SelectorClause, SelectorModel, StringPattern } from "./model.ts";
import { isAnchored, parseStringPattern } from "./parse-glob.ts";
import { type Reading, type ReadSelector, take } from "./reading.ts";
import type { Selector } from "./schema.ts";
import { type Path, placeOf, placeOfKey, type Source } from "./source.ts";

type Fields = Readonly<Record<string, SelectorField>>;
type Value = string | boolean | readonly (string | boolean)[];

/** Keys that are about the caller and not claims of its CI; they may stand beside the issuer or inside it. */
const commonKeys = ["kind", "fork", "caused_by"] as const;
type CommonKey = (typeof commonKeys)[number];
const isCommon = (key: string): key is CommonKey => (commonKeys as readonly string[]).includes(key);

/**
 * A selector as written, or undefined with its mistakes reported. A clause `ref_type: branch` is added where `ref` stands
 * without one. Not checked here: whether it names a project (`anchorProblem`), since a `deny` need not.
 */
export function parseSelector(
  value: Selector,
  source: Source,
  path: Path,
  name: string,
  reading: Reading,
): ReadSelector | undefined {
  const before = reading.findings.errors;
  const issuer = readIssuer(value, source, path, reading);
  if (issuer === "unknown") return undefined;
  const { name: issuerName, claims, fields } = issuer ?? { name: undefined, claims: {}, fields: {} };
  const inner = issuerName === undefined ? path : [...path, issuerName];
  const clauses: SelectorClause[] = [];
  for (const [field, values] of Object.entries(claims)) {
    if (isCommon(field)) continue;
    const clause = parseClause(field, values, fields, source, [...inner, field], reading);
    if (clause) clauses.push(clause);
  }
  addRefType(clauses, fields);
  const common = readCommon(value, claims, source, inner, inner !== path, reading);
  if (reading.findings.errors !== before) return undefined;
  const issuerPart = issuerName === undefined ? {} : { issuer: issuerName };
  return {
    model: { name, ...issuerPart, clauses, ...common.parts, place: placeOf(source, path) },
    saysFork: common.saysFork,
  };
}

interface Issuer {
  readonly name: string;
  readonly claims: Readonly<Record<string, Value>>;
  readonly fields: Fields;
}

function readIssuer(value: Selector, source: Source, path: Path, reading: Reading): Issuer | "unknown" | undefined {
  const { findings } = reading;
  const [name, second] = Object.keys(value).filter((key) => !isCommon(key));
  if (name === undefined) return undefined;
  if (second !== undefined) {
    const help = "write two selectors; a list in `for` holds alternatives";
    findings.error("selector_two_issuers", placeOfKey(source, [...path, second]), "a selector names one issuer", {
      help,
    });
  }
  const type = reading.issuers.get(name);
  if (type === undefined) {
    const help = findings.near(name, [...reading.issuers.keys(), ...commonKeys]);
    findings.error("issuer_unknown", placeOfKey(source, [...path, name]), `no issuer "${name}"`, { help });
    return "unknown";
  }
  return { name, claims: value[name] as Readonly<Record<string, Value>>, fields: reading.vocabulary[type] ?? {} };
}

function parseClause(
  field: string,
  written: Value,
  fields: Fields,
  source: Source,
  path: Path,
  reading: Reading,
): SelectorClause | undefined {
  const known = Object.hasOwn(fields, field) ? fields[field] : undefined;
  if (known === undefined) {
    const help = reading.findings.near(field, [...Object.keys(fields), ...commonKeys]);
    const message = `${String(path.at(-2))} has no field "${field}"`;
    reading.findings.error("field_unknown", placeOfKey(source, path), message, { help });
    return undefined;
  }
  const values: (boolean | StringPattern)[] = [];
  const list = Array.isArray(written) ? (written as readonly (string | boolean)[]) : undefined;
  for (const [index, value] of (list ?? [written as string | boolean]).entries()) {
    const read = parseValue(field, value, known, source, list ? [...path, index] : path, reading);
    if (read !== undefined) values.push(read);
  }
  return { field, values, place: placeOf(source, path) };
}

function parseValue(
  field: string,
  value: string | boolean,
  known: SelectorField,
  source: Source,
  path: Path,
  reading: Reading,
): boolean | StringPattern | undefined {
  const { findings } = reading;
  if (known.type === "boolean") {
    if (typeof value === "boolean") return value;
    const plain = /^(true|false)$/i.test(value) ? `write ${value.toLowerCase()} without quotes` : "write true or false";
    findings.error("wrong_type", placeOf(source, path), `"${field}" is true or false, not text`, { help: plain });
    return undefined;
  }
  if (typeof value === "boolean") {
    const help = `put it in quotes: "${String(value)}"`;
    findings.error("wrong_type", placeOf(source, path), `"${field}" is text, not ${String(value)}`, { help });
    return undefined;
  }
  const pattern = take(parseStringPattern(value), source, path, findings);
  const never = pattern === undefined ? undefined : neverMatches(field, value);
  if (never !== undefined) {
    findings.error("selector_never_matches", placeOf(source, path), "no job can ever match this selector", never);
  }
  if (pattern) reading.places.set(pattern, placeOf(source, path));
  return pattern;
}

/** Values that no token ever carries. */
function neverMatches(field: string, value: string): { label?: string; help: string } | undefined {
  if (field === "ref_type" && value !== "branch" && value !== "tag" && !value.includes("*")) {
    return { label: "a ref is a branch or a tag", help: "write branch or tag" };
  }
  const prefix = /^refs\/(heads|tags)\//.exec(value);
  if (field !== "ref" || prefix === null) return undefined;
  const rest = value.slice(prefix[0].length);
  return {
    label: "refs are named without refs/…",
    help: prefix[1] === "tags" ? `write ref: ${rest}, ref_type: tag` : `write ref: ${rest}`,
  };
}

/** `ref` means a branch unless `ref_type` says otherwise. */
function addRefType(clauses: SelectorClause[], fields: Fields): void {
  const ref = clauses.find((clause) => clause.field === "ref");
  if (!ref || !Object.hasOwn(fields, "ref_type") || clauses.some((clause) => clause.field === "ref_type")) return;
  clauses.push({ field: "ref_type", values: [{ kind: "exact", text: "branch" }], place: ref.place });
}

type Common = Pick<SelectorModel, "kind" | "fork" | "causedBy">;

function readCommon(
  value: Selector,
  claims: Readonly<Record<string, Value>>,
  source: Source,
  inner: Path,
  hasIssuer: boolean,
  reading: Reading,
): { parts: Common; saysFork: boolean } {
  const { findings } = reading;
  const both = commonKeys.filter((key) => hasIssuer && value[key] !== undefined && claims[key] !== undefined);
  for (const key of both) {
    findings.error("said_twice", placeOfKey(source, [...inner, key]), `"${key}" is said twice`, {
      help: "leave one out",
    });
  }
  const outer = hasIssuer ? inner.slice(0, -1) : inner;
  const pathOf = (key: CommonKey) => [...(value[key] === undefined ? inner : outer), key];
  const place = (key: CommonKey) => placeOf(source, pathOf(key));
  const fork = value.fork ?? claims.fork;
  if (fork !== undefined && typeof fork !== "boolean") {
    const help = fork === "true" || fork === "false" ? `write ${fork} without quotes` : "write true or false";
    findings.error("wrong_type", place("fork"), '"fork" is true or false', { help });
  }
  const kind = value.kind ?? claims.kind;
  if (kind !== undefined && !isKind(kind)) {
    const help = findings.near(String(kind), ["job", "agent", "person"]);
    findings.error("unknown_value", place("kind"), `"kind" cannot be ${JSON.stringify(kind)}`, { help });
  }
  const causedBy = readCausedBy(value.caused_by ?? claims.caused_by, source, pathOf("caused_by"), reading);
  const parts = { ...(isKind(kind) ? { kind } : {}), fork: fork === true };
  return { parts: causedBy === undefined ? parts : { ...parts, causedBy }, saysFork: fork !== undefined };
}

function isKind(value: unknown): value is Kind {
  return value === "job" || value === "agent" || value === "person";
}

/** The events' names; whether there are such events is checked when all are known. */
function readCausedBy(
  value: Value | undefined,
  source: Source,
  path: Path,
  { findings, causes }: Reading,
): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const list: readonly (string | boolean)[] = typeof value === "object" ? value : [value];
  const names = list.filter((item) => typeof item === "string" && item.trim() !== "") as readonly string[];
  if (names.length !== list.length) {
    const help = "write the event's name, or a list of names";
    findings.error("wrong_type", placeOf(source, path), '"caused_by" is text', { help });
    return undefined;
  }
  for (const [index, event] of names.entries()) {
    causes.push({ event, place: placeOf(source, typeof value === "object" ? [...path, index] : path) });
  }
  return names;
}

/** Why a selector cannot stand in `for`, or undefined: it must say which project, group, pipeline or organization it means. */
export function anchorProblem(
  selector: SelectorModel,
  reading: Reading,
): { message: string; help: string } | undefined {
  const type = selector.issuer === undefined ? undefined : reading.issuers.get(selector.issuer);
  const fields: Fields = type === undefined ? {} : (reading.vocabulary[type] ?? {});
  const anchors = Object.keys(fields).filter((field) => fields[field]?.anchors);
  const anchored = selector.clauses.filter((clause) => fields[clause.field]?.anchors);
  const firm = anchored.some((clause) =>
    clause.values.every((value) => typeof value !== "boolean" && isAnchored(value)),
  );
  if (firm) return undefined;
  if (anchored.length > 0) {
    return { message: "this matches everybody's projects", help: "write the first segment out: acme/**" };
  }
  const help = anchors.length > 0 ? `add one of: ${anchors.join(", ")}` : "say whose: gitlab: { project: acme/shop }";
  return { message: "this selector names no project", help };
}
