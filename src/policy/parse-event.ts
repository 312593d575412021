import { eventVariableProblem, parsePointer } from "./event-variables.ts";
import type { EventModel, EventVariable } from "./model.ts";
import { parseRate } from "./parse-duration.ts";
import { parseEventStart } from "./parse-event-start.ts";
import { parseSubject, reservedProblem } from "./parse-nats-pattern.ts";
import { findTarget, readAudience, readCondition } from "./parse-rule.ts";
import { isTemplate } from "./parse-template.ts";
import { type Reading, take } from "./reading.ts";
import type { Event } from "./schema.ts";
import { type Path, placeOf, placeOfKey, placeWithin, type Source } from "./source.ts";

const defaultLimit = { max: 10, windowMs: 60_000 } as const;
const mostDepth = 8;
const mostVariables = 32;

/** An event; undefined with its mistakes reported. */
export function parseEvent(
  name: string,
  value: Event,
  source: Source,
  path: Path,
  reading: Reading,
): EventModel | undefined {
  const { findings } = reading;
  const before = findings.errors;
  const selectors = readAudience(value.for, "role", name, source, [...path, "for"], reading);
  const on = readSource(value.on, source, [...path, "on"], reading);
  const start = parseEventStart(value.start, source, [...path, "start"], reading);
  const variables = readVariables(value.variables ?? {}, source, [...path, "variables"], reading);
  const limit =
    value.limit === undefined ? defaultLimit : take(parseRate(value.limit), source, [...path, "limit"], findings);
  const depth = readDepth(value.depth, source, [...path, "depth"], reading);
  const when = readCondition(value.when, source, [...path, "when"], reading);
  if (when?.readsRequest) {
    const at = value.when?.indexOf("request") ?? 0;
    const help = "ask about job, change, environment, approval or now: the message itself is in no condition";
    const place = placeWithin(source, [...path, "when"], at, "request".length);
    findings.error("condition_reads_request", place, "a message that was published is no request", { help });
  }
  if (findings.errors !== before || !on || !start || !limit) return undefined;
  const place = placeOfKey(source, path);
  return { name, for: selectors, on, start, variables, limit, depth, ...(when ? { when } : {}), place };
}

function readSource(on: Event["on"], source: Source, path: Path, reading: Reading): EventModel["on"] | undefined {
  const { findings } = reading;
  const before = findings.errors;
  const targetPath = [...path, "target"];
  const target = findTarget(on.target, source, targetPath, false, reading);
  if (target?.kind !== undefined && target.kind !== "nats") {
    const message = `${on.target} is of kind ${target.kind}, and events come over NATS`;
    findings.error("event_target_wrong_kind", placeOf(source, targetPath), message, { help: "name a nats target" });
  }
  const account = target?.read?.settings.account;
  if (typeof account === "string" && isTemplate(account)) {
    const message = `${on.target} has an account for each job, and an event listens in one`;
    const help = "name a target whose account is written out";
    findings.error("event_account_unclear", placeOf(source, targetPath), message, { help });
  }
  if (!/^[^\s.*>/\\]{1,255}$/.test(on.stream) || isTemplate(on.stream)) {
    const help = "one stream, as JetStream names it: IMAGES";
    findings.error("event_stream_invalid", placeOf(source, [...path, "stream"]), "this is not a stream's name", {
      help,
    });
  }
  readSubject(on.subject, source, [...path, "subject"], reading);
  return findings.errors === before ? { target: on.target, stream: on.stream, subject: on.subject } : undefined;
}

function readSubject(subject: string, source: Source, path: Path, reading: Reading): void {
  if (isTemplate(subject)) {
    const help = "write * for the token, and say under for whose messages count";
    const place = placeWithin(source, path, subject.indexOf("${"), 2);
    reading.findings.error("template_not_here", place, "no template can stand here", { help });
    return;
  }
  const tokens = take(parseSubject(subject, 0, []), source, path, reading.findings);
  const reserved = tokens && reservedProblem(subject, 0, tokens, "role");
  if (reserved) take(reserved, source, path, reading.findings);
}

function readVariables(
  written: Readonly<Record<string, string>>,
  source: Source,
  path: Path,
  reading: Reading,
): EventVariable[] {
  const { findings } = reading;
  const names = Object.keys(written);
  if (names.length > mostVariables) {
    const message = `${names.length} variables, and a pipeline gets at most ${mostVariables}`;
    const help = "have the pipeline read the rest itself";
    findings.error("too_many_variables", placeOfKey(source, path), message, { help });
  }
  return Object.entries(written).flatMap(([name, text]): EventVariable[] => {
    const at = [...path, name];
    const problem = eventVariableProblem(name);
    if (problem !== undefined) {
      const tidy = name.toUpperCase().replace(/[^A-Z0-9_]+/g, "_");
      const help = tidy !== name && eventVariableProblem(tidy) === undefined ? `write ${tidy}` : "choose another name";
      findings.error("variable_refused", placeOfKey(source, at), `${name} ${problem}`, { help });
    }
    const pointer = take(parsePointer(text), source, at, findings);
    return pointer === undefined ? [] : [{ name, pointer }];
  });
}

function readDepth(written: number | undefined, source: Source, path: Path, reading: Reading): number {
  if (written === undefined) return 1;
  if (Number.isInteger(written) && written >= 1 && written <= mostDepth) return written;
  const help = `a whole number from 1 (what it starts may start nothing) to ${mostDepth}`;
  reading.findings.error("depth_invalid", placeOf(source, path), `a chain cannot be ${written} long`, { help });
  return 1;
}
