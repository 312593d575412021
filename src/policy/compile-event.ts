import type { Facts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import { type CompiledRules, pinnedElsewhere } from "./compiled-rules.ts";
import { type Condition, compileCondition, evaluateCondition, jobValues } from "./condition.ts";
import {
  type CompiledSelector,
  compileSelector,
  explainSelector,
  matchesIssuer,
  matchesSelector,
} from "./match-selector.ts";
import type { EventModel } from "./model.ts";
import { startedProject } from "./parse-event-start.ts";
import type { CompiledEvent, EventVerdict } from "./policy.ts";

export interface ReadyEvent extends CompiledEvent {
  /** Facts that its condition reads, where some selector is about the job. */
  factsFor(identity: JobIdentity): readonly string[];
}

export function compileEvent(model: EventModel, rules: CompiledRules): ReadyEvent {
  const { name, on, start, variables, limit, depth, when } = model;
  const audience: Audience = { rules, selectors: model.for.map(compileSelector) };
  const condition = when && compileCondition(when);
  const key = `${start.issuer}/${startedProject(start)}`;
  const startId = Object.hasOwn(rules.pins, key) ? rules.pins[key] : undefined;
  return {
    name,
    on: { ...on, account: String(rules.targets.get(on.target)?.model.settings.account ?? "") },
    start,
    ...(startId === undefined ? {} : { startId }),
    variables,
    limit,
    depth,
    mayCause: (identity, facts, now) =>
      audienceProblem(audience, identity) ??
      depthProblem(depth, identity) ??
      conditionVerdict(condition, audience, identity, facts, now),
    factsFor: (identity) =>
      condition !== undefined && audienceProblem(audience, identity) === undefined ? condition.facts : [],
  };
}

interface Audience {
  readonly rules: CompiledRules;
  readonly selectors: readonly CompiledSelector[];
}

const refused = (reason: Extract<EventVerdict, { allowed: false }>["reason"], detail: string): EventVerdict => ({
  allowed: false,
  reason,
  detail,
});

function audienceProblem(audience: Audience, identity: JobIdentity): EventVerdict | undefined {
  const { rules, selectors } = audience;
  const { path } = identity.project;
  if (pinnedElsewhere(rules, identity)) return refused("not_for", `${path} is pinned to another project's id`);
  if (actingKind(audience, identity) !== undefined) return undefined;
  const about = selectors.filter(({ model }) => matchesIssuer(model, identity));
  const [nearest] = about
    .map((selector) => explainSelector(selector, identity, rules.vocabulary))
    .toSorted((a, b) => a.of - a.met - (b.of - b.met) || ((a.failed ?? "") < (b.failed ?? "") ? -1 : 1));
  if (nearest?.failed === undefined) return refused("not_for", `it is not for jobs of ${identity.issuer}`);
  const found = nearest.found === undefined ? "" : `; this job has ${nearest.found}`;
  return refused("not_for", `it is for ${nearest.failed}${found}`);
}

/** As whom the job causes it: `agent` where a selector that matches says so; undefined where none does. */
function actingKind({ rules, selectors }: Audience, identity: JobIdentity): "own" | "agent" | undefined {
  const matching = selectors.filter((selector) => matchesSelector(selector, identity, "role", rules.vocabulary));
  if (matching.length === 0) return undefined;
  return matching.some(({ model }) => model.kind === "agent") ? "agent" : "own";
}

function depthProblem(depth: number, { cause }: JobIdentity): EventVerdict | undefined {
  const next = (cause?.depth ?? 0) + 1;
  // Written so that a depth that is no number is too deep.
  if (next <= depth) return undefined;
  return refused("too_deep", `it would be start ${next} of a chain that may be ${depth} long`);
}

function conditionVerdict(
  condition: Condition | undefined,
  audience: Audience,
  identity: JobIdentity,
  facts: Facts,
  now: number,
): EventVerdict {
  if (condition === undefined) return { allowed: true };
  const kind = actingKind(audience, identity) === "agent" ? "agent" : identity.kind;
  // No condition of an event reads the request: there is none.
  const operation = { kind: "verb", verb: "" } as const;
  const input = { job: jobValues(identity, kind), target: "", operation, facts, now };
  const { verdict, missing } = evaluateCondition(condition, input, undefined);
  if (missing !== undefined) return refused("fact_missing", missing);
  return verdict === "true" ? { allowed: true } : refused("condition_failed", condition.model.source);
}
