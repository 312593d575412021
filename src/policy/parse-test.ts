import { type FactType, factTable } from "../core/fact.ts";
import type { SelectorField } from "../core/identity.ts";
import { parsePath } from "../core/path.ts";
import type { TargetKind } from "../core/target.ts";
import { type Parsed, parsed, refused } from "./findings.ts";
import type { TestLine, TestModel } from "./model.ts";
import { parseOperation } from "./parse-operation.ts";
import { type Reading, take } from "./reading.ts";
import type { Test } from "./schema.ts";
import { hasKey, type Path, placeOf, placeOfKey, placeWithin, type Source } from "./source.ts";

const commonKeys: readonly string[] = ["kind", "fork", "caused_by"];

/** A test, its job and facts checked against what there is; undefined with its mistakes reported. */
export function parseTest(value: Test, source: Source, path: Path, reading: Reading): TestModel | undefined {
  const { findings } = reading;
  const before = findings.errors;
  if (value.name.trim() === "") {
    findings.error("test_without_name", placeOf(source, [...path, "name"]), "a test has a name", {
      help: "say in a sentence what must hold",
    });
  }
  if (!hasKey(source, path, "can") && !hasKey(source, path, "cannot")) {
    const help = "add can: [...] or cannot: [...]";
    findings.error("test_says_nothing", placeOf(source, [...path, "name"]), "this test expects nothing", { help });
  }
  const job = readJob(value, source, [...path, "as"], reading);
  checkFacts(value.with ?? {}, source, [...path, "with"], reading);
  const lines = (key: "can" | "cannot") =>
    (value[key] ?? []).flatMap((line, index) => readLine(line, source, [...path, key, index], reading) ?? []);
  const [can, cannot] = [lines("can"), lines("cannot")];
  if (findings.errors !== before || !job) return undefined;
  return { name: value.name, ...job, with: { ...value.with }, can, cannot, place: placeOf(source, [...path, "name"]) };
}

type Job = Pick<TestModel, "issuer" | "as">;

/** The job a test pretends to be: issuer and single claims; `ref` means a branch here too. */
function readJob(value: Test, source: Source, path: Path, reading: Reading): Job | undefined {
  const { findings } = reading;
  const [issuer, second] = Object.keys(value.as).filter((key) => !commonKeys.includes(key));
  if (issuer === undefined || second !== undefined) {
    const at = placeOfKey(source, second === undefined ? path : [...path, second]);
    const help = "for example { gitlab: { project: acme/shop, ref: main } }";
    findings.error("test_job_unclear", at, "a test's job has one issuer", { help });
    return undefined;
  }
  const type = reading.issuers.get(issuer);
  if (type === undefined) {
    const help = findings.near(issuer, reading.issuers.keys());
    findings.error("issuer_unknown", placeOfKey(source, [...path, issuer]), `no issuer "${issuer}"`, { help });
    return undefined;
  }
  const fields = reading.vocabulary[type] ?? {};
  const as = readCommon(value, source, path, reading);
  for (const [field, claim] of Object.entries(value.as[issuer] as Readonly<Record<string, string | boolean>>)) {
    if (checkClaim(field, claim, fields, source, [...path, issuer, field], reading)) as[field] = claim;
  }
  if (as.ref !== undefined && as.ref_type === undefined && Object.hasOwn(fields, "ref_type")) as.ref_type = "branch";
  return { issuer, as };
}

function readCommon(value: Test, source: Source, path: Path, reading: Reading): Record<string, string | boolean> {
  const as: Record<string, string | boolean> = Object.create(null);
  for (const key of commonKeys) {
    const common = (value.as as Readonly<Record<string, unknown>>)[key];
    if (typeof common === "string" || typeof common === "boolean") as[key] = common;
  }
  const { caused_by: event } = as;
  if (typeof event !== "string") return as;
  const place = placeOf(source, [...path, "caused_by"]);
  if (event !== "*") reading.causes.push({ event, place });
  else {
    const help = "name the event";
    reading.findings.error("test_job_unclear", place, "a test's job has one cause", { help });
  }
  return as;
}

function checkClaim(
  field: string,
  claim: string | boolean,
  fields: Readonly<Record<string, SelectorField>>,
  source: Source,
  path: Path,
  reading: Reading,
): boolean {
  const { findings } = reading;
  const wanted = Object.hasOwn(fields, field) ? fields[field]?.type : field === "fork" ? "boolean" : "string";
  if (!Object.hasOwn(fields, field) && !commonKeys.includes(field)) {
    const help = findings.near(field, [...Object.keys(fields), ...commonKeys]);
    const message = `${String(path.at(-2))} has no field "${field}"`;
    findings.error("field_unknown", placeOfKey(source, path), message, { help });
    return false;
  }
  if (typeof claim !== wanted) {
    const help = wanted === "boolean" ? "write true or false, without quotes" : `put it in quotes: "${String(claim)}"`;
    findings.error(
      "wrong_type",
      placeOf(source, path),
      `"${field}" is ${wanted === "boolean" ? "true or false" : "text"}`,
      { help },
    );
    return false;
  }
  if (field === "kind" && claim !== "job" && claim !== "agent" && claim !== "person") {
    const help = findings.near(String(claim), ["job", "agent", "person"]);
    findings.error("unknown_value", placeOf(source, path), `"kind" cannot be "${String(claim)}"`, { help });
    return false;
  }
  if (typeof claim === "string" && claim.includes("*")) {
    findings.error("test_job_unclear", placeOf(source, path), "a test's job is one job", {
      help: "write a value without *",
    });
    return false;
  }
  return true;
}

const typeNames = { string: "text", int: "a whole number", bool: "true or false" } as const;

function checkFacts(facts: NonNullable<Test["with"]>, source: Source, path: Path, reading: Reading): void {
  for (const [name, value] of Object.entries(facts)) {
    const known = Object.hasOwn(factTable, name) ? factTable[name as keyof typeof factTable] : undefined;
    if (!known) {
      const help = reading.findings.near(name, Object.keys(factTable));
      reading.findings.error("fact_unknown", placeOfKey(source, [...path, name]), `no fact "${name}"`, { help });
    } else if (factType(value) !== known.type) {
      const wanted = typeNames[known.type];
      const place = placeOf(source, [...path, name]);
      reading.findings.error("wrong_type", place, `${name} is ${wanted}`, { help: `write ${wanted}` });
    }
  }
}

function factType(value: string | number | boolean): FactType | undefined {
  if (typeof value === "boolean") return "bool";
  if (typeof value === "string") return "string";
  return Number.isSafeInteger(value) ? "int" : undefined;
}

function readLine(line: string, source: Source, path: Path, reading: Reading): TestLine | undefined {
  const words = /^(\S+) (\S+)(?: (\S+(?: \S+)?))?$/.exec(line);
  const [, verb = "", name = "", object = ""] = words ?? [];
  if (!words) {
    const help = "VERB target object: POST billing /v1/releases, pub events build.7, read db";
    reading.findings.error("test_line_invalid", placeOf(source, path), "this is not a verb, a target and an object", {
      help,
    });
    return undefined;
  }
  if (name.startsWith("/") && object === "") {
    const help = `write ${verb} target ${name}`;
    reading.findings.error("test_line_invalid", placeOf(source, path), "this names no target", { help });
    return undefined;
  }
  const target = reading.targets.get(name);
  if (!target) {
    const help = reading.findings.near(name, reading.targets.keys());
    const place = placeWithin(source, path, verb.length + 1, name.length);
    reading.findings.error("target_unknown", place, `no target "${name}"`, { help });
    return undefined;
  }
  if (target.kind === undefined) return undefined;
  const start = verb.length + name.length + 2;
  const valid = take(checkLine(line, target.kind, verb, object, start), source, path, reading.findings);
  return valid === undefined ? undefined : { source: line, target: name, verb, object, place: placeOf(source, path) };
}

/** A line asks for one thing: no wildcards but where NATS itself subscribes by them. */
function checkLine(line: string, kind: TargetKind, verb: string, object: string, at: number): Parsed<true> {
  const invalid: Invalid = (message, help) =>
    refused("test_line_invalid", message, Math.min(at, line.length - 1), object.length, help);
  if (kind === "http" || kind === "mesh") return checkRequest(kind, verb, object, invalid);
  if (kind !== "nats") {
    if (object !== "") return invalid(`${kind} targets have no objects`, "leave it out");
    return checked(parseOperation(verb, kind, false, []));
  }
  if (object === "") return invalid("the subject is missing", `write ${verb} target subject`);
  const operation = parseOperation(`${verb} ${object}`, kind, false, [], "question");
  // The target's name stands between verb and subject in a test, and not in an operation.
  if (!operation.ok && operation.problem.at > verb.length) {
    const moved = operation.problem.at - verb.length - 1 + at;
    return { ok: false, problem: { ...operation.problem, at: moved } };
  }
  if (operation.ok && verb !== "sub" && /[*>]/.test(object)) {
    return invalid("a test asks for one subject", "write it without wildcards");
  }
  return checked(operation);
}

type Invalid = (message: string, help: string) => Parsed<never>;

function checkRequest(kind: TargetKind, verb: string, object: string, invalid: Invalid): Parsed<true> {
  if (object === "") return invalid("the path is missing", `write ${verb} target /path`);
  if (verb === "*" || object.includes("*") || !parsePath(object).ok) {
    return invalid("a test asks for one request", "write one method and one path without wildcards");
  }
  return checked(parseOperation(`${verb} /`, kind, false, []));
}

function checked(operation: Parsed<unknown>): Parsed<true> {
  return operation.ok ? parsed(true) : operation;
}
