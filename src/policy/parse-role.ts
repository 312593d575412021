import { parseSpiffeId } from "./check-settings.ts";
import type { DenyModel, Mode, RoleModel } from "./model.ts";
import { parseDuration, parseRate } from "./parse-duration.ts";
import { checkName, findTarget, readAudience, readCondition, readOperations } from "./parse-rule.ts";
import { type Reading, take } from "./reading.ts";
import type { Deny, Role } from "./schema.ts";
import { type Path, placeOf, placeOfKey, type Source, sizeOf } from "./source.ts";

const leastTtlSeconds = 10;
const mostTtlSeconds = { job: 15 * 60, pipeline: 60 * 60 } as const;

/** A role; undefined with its mistakes reported. */
export function parseRole(
  name: string,
  value: Role,
  source: Source,
  path: Path,
  fileMode: Mode,
  reading: Reading,
): RoleModel | undefined {
  const { findings } = reading;
  const before = findings.errors;
  if (value.id !== undefined) checkName(value.id, placeOf(source, [...path, "id"]), reading);
  const selectors = readAudience(value.for, "role", name, source, [...path, "for"], reading);
  const when = readCondition(value.when, source, [...path, "when"], reading);
  const until = value.until ?? "job";
  const ttlSeconds =
    value.ttl === undefined
      ? undefined
      : take(parseDuration(value.ttl, leastTtlSeconds, mostTtlSeconds[until]), source, [...path, "ttl"], findings);
  const rate =
    value.limit === undefined
      ? undefined
      : take(parseRate(value.limit.rate), source, [...path, "limit", "rate"], findings);
  const spiffeId =
    value.spiffe_id === undefined
      ? undefined
      : take(parseSpiffeId(value.spiffe_id), source, [...path, "spiffe_id"], findings);
  if (sizeOf(source, [...path, "allow"]) === 0) {
    const help = "name a target and its operations, or leave the role out";
    findings.error("role_allows_nothing", placeOfKey(source, [...path, "allow"]), `role ${name} allows nothing`, {
      help,
    });
  }
  const allow = readOperations(value.allow, "role", source, [...path, "allow"], reading);
  if (findings.errors !== before) return undefined;
  return {
    id: value.id ?? name,
    name,
    for: selectors,
    ...(when ? { when } : {}),
    ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
    until,
    ...(rate && value.limit ? { limit: { ...rate, per: value.limit.per, scope: value.limit.scope ?? "global" } } : {}),
    ...(spiffeId === undefined ? {} : { spiffeId }),
    allow,
    place: placeOfKey(source, path),
    mode: value.mode ?? fileMode,
  };
}

/** A deny; undefined with its mistakes reported. `fallbackId` names one that has no id. */
export function parseDeny(
  fallbackId: string,
  value: Deny,
  source: Source,
  path: Path,
  reading: Reading,
): DenyModel | undefined {
  const { findings } = reading;
  const before = findings.errors;
  const id = value.id ?? fallbackId;
  if (value.id !== undefined) checkName(value.id, placeOf(source, [...path, "id"]), reading);
  const selectors = readAudience(value.for, "deny", id, source, [...path, "for"], reading);
  const targets = [...(value.targets ?? [])];
  for (const [index, target] of targets.entries())
    findTarget(target, source, [...path, "targets", index], false, reading);
  const operations = readOperations(value.operations ?? {}, "deny", source, [...path, "operations"], reading);
  for (const target of Object.keys(operations)) {
    if (!targets.includes(target)) targets.push(target);
    else {
      const help = "leave it out of targets to deny only these operations, or out of operations to deny all";
      findings.error(
        "said_twice",
        placeOfKey(source, [...path, "operations", target]),
        `${target} is denied whole already`,
        { help },
      );
    }
  }
  if (value.because.trim() === "") {
    const help = "it is what the refused job's log will say";
    findings.error("because_missing", placeOf(source, [...path, "because"]), "a deny gives its reason", { help });
  }
  const when = readCondition(value.when, source, [...path, "when"], reading);
  if (findings.errors !== before) return undefined;
  const place = value.id === undefined ? placeOf(source, [...path, "because"]) : placeOf(source, [...path, "id"]);
  return { id, for: selectors, targets, operations, ...(when ? { when } : {}), because: value.because, place };
}
