import type { Closest } from "../core/decision.ts";
import { type Asked, conditionInput, inNarrowing, limitOf } from "./asked.ts";
import { compare } from "./compiled-rules.ts";
import { evaluateCondition, foundValues } from "./condition.ts";
import type { HeldRole, NearRole, Rule } from "./reach.ts";

interface Part {
  readonly holds: boolean;
  readonly failed: string;
  readonly found?: string | undefined;
}

interface Candidate {
  readonly role: HeldRole["role"];
  readonly own: boolean;
  readonly parts: readonly Part[];
}

/** More roles than this are not looked at: a refusal is to be explained, not to be slow. */
const maxRoles = 32;

/**
 * The role nearest to allowing a denied request: of those that `failed` for the reason that is given, or else of those that
 * name the target. Nearest is: the operation holds, then fewest parts that fail, then most that hold, then a role the job
 * has over one that only others of its project have, then by id. Parts are the operation, each conjunct of `when` and the limit; for
 * a role the job does not have, also each clause of the selector. Shows no values but the job's claims and its facts.
 */
export function findClosest(asked: Asked, failed: readonly HeldRole[]): Closest | undefined {
  const candidates: Candidate[] = [];
  for (const held of (failed.length > 0 ? failed : asked.at.naming).slice(0, maxRoles)) {
    candidates.push({ role: held.role, own: true, parts: heldParts(asked, held) });
  }
  if (failed.length === 0) {
    for (const one of nearRoles(asked)) candidates.push({ role: one.role, own: false, parts: nearParts(one) });
  }
  const [best] = candidates.sort(byNearness);
  return best && describe(best);
}

/** Roles the job does not have and that would allow the operation. */
function nearRoles({ matched }: Asked): ReadonlySet<NearRole> {
  const near = new Set<NearRole>();
  for (const rule of matched) if (rule.kind === "near" && rule.unfilled === undefined) near.add(rule.near);
  return near;
}

function byNearness(a: Candidate, b: Candidate): number {
  const failing = (one: Candidate) => one.parts.filter((part) => !part.holds).length;
  const operation = (one: Candidate) => Number(one.parts[0]?.holds);
  return (
    operation(b) - operation(a) ||
    failing(a) - failing(b) ||
    b.parts.length - a.parts.length ||
    Number(b.own) - Number(a.own) ||
    compare(a.role.model.id, b.role.model.id)
  );
}

function describe({ role, parts }: Candidate): Closest | undefined {
  const failed = parts.find((part) => !part.holds);
  if (failed === undefined) return undefined;
  return {
    role: role.model.id,
    file: role.model.place.file,
    line: role.model.place.line,
    met: parts.filter((part) => part.holds).length,
    of: parts.length,
    failed: failed.failed,
    ...(failed.found === undefined ? {} : { found: failed.found }),
  };
}

function heldParts(asked: Asked, held: HeldRole): readonly Part[] {
  const { reach, request, counts } = asked;
  const parts: Part[] = [operationPart(asked, held)];
  if (!inNarrowing(request.narrowing, held.role.model.id)) parts.push({ holds: false, failed: "narrowing" });
  const { condition } = held.role;
  if (condition !== undefined) {
    const input = conditionInput(reach, request, held.kind);
    const result = evaluateCondition(condition, input, held.memo);
    for (const [at, conjunct] of condition.conjuncts.entries()) {
      const holds = result.parts[at] === "true";
      parts.push({ holds, failed: conjunct.source, found: holds ? undefined : foundValues(conjunct, input) });
    }
  }
  const limit = limitOf(held, reach, request);
  if (limit !== undefined) {
    const used = counts.used(limit.key, limit.windowMs);
    parts.push({ holds: used < limit.max, failed: "limit", found: `${used} of ${limit.max}` });
  }
  return parts;
}

function operationPart({ matched, request }: Asked, held: HeldRole): Part {
  const streaming = request.operation.kind === "http" && request.operation.stream;
  const problems = matched
    .filter((rule) => rule.kind === "role" && rule.held === held)
    .map((rule) => ruleProblem(rule, streaming));
  const failed = problems.length === 0 ? "operation" : problems.includes(undefined) ? undefined : problems.sort()[0];
  return { holds: failed === undefined, failed: failed ?? "operation" };
}

function ruleProblem(rule: Rule, streaming: boolean): string | undefined {
  return streaming && !rule.stream ? "stream" : rule.unfilled;
}

function nearParts({ role, match }: NearRole): readonly Part[] {
  const parts: Part[] = [{ holds: true, failed: "operation" }];
  for (let at = 0; at < match.met; at++) parts.push({ holds: true, failed: "" });
  for (let at = match.met; at < match.of; at++) {
    parts.push({ holds: false, failed: match.failed ?? "for", found: match.found });
  }
  // A condition of a role the job does not have is not evaluated: what it needs was never read for this job.
  for (const _ of role.condition?.conjuncts ?? []) parts.push({ holds: false, failed: "when" });
  return parts;
}
