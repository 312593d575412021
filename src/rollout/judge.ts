import {
  type Counts,
  type Decision,
  type LimitUse,
  type Outcome,
  outcomeOf,
  type ReasonCode,
} from "../core/decision.ts";
import type { Fact, Facts } from "../core/fact.ts";
import type { Policy } from "../policy/policy.ts";
import type { KnownSession } from "./known-sessions.ts";
import type { RecordedRequest } from "./recorded-request.ts";

/** Uses of limits as they would be under the draft. */
export interface ReplayCounts extends Counts {
  count(use: LimitUse): void;
}

/** What a draft says of a recorded request, or why that cannot be known. */
export type Judgement =
  | { readonly outcome: Outcome; readonly reason: ReasonCode; readonly rule?: string; readonly decision?: Decision }
  | { readonly unknown: string };

/** Nobody was recognised, so that only routes matter. */
const unidentifiedReasons: ReadonlySet<ReasonCode> = new Set<ReasonCode>(["no_credential", "unidentified"]);

/** Refused for the credential or the session, whatever policy says; observed routes let them through. */
const refusedBefore: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  "credential_invalid",
  "credential_expired",
  "credential_revoked",
  "session_ended",
  "session_suspended",
  "session_unknown",
  "ambiguous_request",
]);

/**
 * One recorded request under a draft. Facts are those the records tell of; a refusal that hangs on one they do not tell of
 * cannot be known. An allow always is: a fact that were there could only allow more.
 */
export function judge(
  draft: Policy,
  request: RecordedRequest,
  session: KnownSession | undefined,
  counts: ReplayCounts,
): Judgement {
  const before = judgedWithoutPolicy(request, session) ?? judgedWithoutJob(draft, request);
  if (before !== undefined) return before;
  if (session === undefined) return { unknown: "the job: its session's opening is not among the records" };
  if (request.operations.length === 0) return cutOff;
  const proof = proofJudgement(draft, request, session);
  return proof ?? decideOn(draft, request, session, counts);
}

const cutOff: Judgement = { unknown: "the whole path: the record holds its beginning" };

/** What no policy has a say in. */
function judgedWithoutPolicy(request: RecordedRequest, session: KnownSession | undefined): Judgement | undefined {
  const { reason, narrowed } = request;
  if (reason === "outage") return { unknown: "nothing was decided: an outage" };
  if (reason === "session_suspended" && session?.withdrawn === true)
    return { unknown: "whether it had been suspended: a policy granted it nothing" };
  const others = reason === "outside_narrowing" && narrowed === undefined; // the token names other targets
  return others || reason === "subject_refused" ? same(request) : undefined;
}

/** What was refused, or let through, before anybody asked what the job may do: routes and targets have a say in it. */
function judgedWithoutJob(draft: Policy, request: RecordedRequest): Judgement | undefined {
  const { reason, session, target } = request;
  if (reason === "target_unknown" && session === undefined)
    return draft.targets.has(target) ? { unknown: "who asked: the target was not known" } : same(request);
  if (unidentifiedReasons.has(reason) || (reason === "credential_invalid" && !request.ours))
    return judgedByRoute(draft, request);
  if (!refusedBefore.has(reason)) return undefined;
  const mode = routeOf(draft, request)?.mode;
  return mode === undefined ? same(request) : { outcome: outcomeOf({ effect: "deny", mode }), reason };
}

function judgedByRoute(draft: Policy, request: RecordedRequest): Judgement {
  const route = routeOf(draft, request);
  if (route === undefined) return cutOff;
  if (route.pass) return { outcome: "pass", reason: "unidentified" };
  const reason = request.reason === "unidentified" ? "no_credential" : request.reason;
  return { outcome: outcomeOf({ effect: "deny", mode: route.mode }), reason };
}

const same = ({ outcome, reason }: RecordedRequest): Judgement => ({ outcome, reason });

function routeOf(draft: Policy, { target, operations }: RecordedRequest) {
  const [operation] = operations;
  if (operation === undefined) return undefined;
  return operation.kind === "http"
    ? draft.unidentified(target, operation.method, operation.path)
    : draft.unidentified(target, "", "");
}

/** Proof is asked for before policy is, and records do not say who brought one. */
function proofJudgement(draft: Policy, request: RecordedRequest, { identity }: KnownSession): Judgement | undefined {
  const wanted = draft.targetFor(request.target, identity)?.proof === "required";
  const refused = request.reason === "proof_required";
  if (wanted && refused) return same(request);
  return wanted || refused ? { unknown: "whether the token was bound to a key" } : undefined;
}

function decideOn(draft: Policy, request: RecordedRequest, session: KnownSession, counts: ReplayCounts): Judgement {
  const { target, at: now, narrowed, counted, gateway } = request;
  const { facts, unknown } = factsAt(request, session);
  const view = {
    id: session.id,
    identity: session.identity,
    state: "active",
    openedAt: session.openedAt,
    hardEndAt: Number.MAX_SAFE_INTEGER,
  } as const;
  // Behind another gateway the token names the role of that gateway's decision, which the draft makes anew.
  const narrowing = narrowed === undefined || counted ? {} : { roles: narrowed };
  const asked = { session: view, narrowing, target, facts, gateway, now, ...(counted ? { counted: true } : {}) };
  let last: Decision | undefined;
  for (const operation of request.operations) {
    last = draft.decide({ ...asked, operation }, counts);
    if (last.effect === "allow") break;
  }
  if (last === undefined) throw new TypeError("a request has an operation");
  if (last.effect === "allow") {
    if (last.limit !== undefined) counts.count(last.limit);
  } else if (mayHang(last.reason)) {
    const needed = new Set(draft.factsFor(session.identity));
    const name = [...unknown].find((each) => needed.has(each));
    if (name !== undefined) return { unknown: `the fact ${name}: nobody asked for it then` };
  }
  const { reason, rule } = last;
  return { outcome: outcomeOf(last), reason, decision: last, ...(rule === undefined ? {} : { rule }) };
}

/** The refusals in which a fact has a say: another reason outranks it only where no fact was missing. */
const mayHang = (reason: ReasonCode): boolean => reason === "fact_missing" || reason === "denied";

const never = Number.MAX_SAFE_INTEGER;

/** Facts as they were, and the names that were looked at and of which the records do not tell. */
function factsAt(
  { facts: used, missing, at }: RecordedRequest,
  session: KnownSession,
): { readonly facts: Facts; readonly unknown: ReadonlySet<string> } {
  const known: Record<string, Fact> = Object.create(null);
  for (const [name, value] of session.facts) {
    if (value !== undefined) known[name] = { value, observedAt: at, staleAt: never };
  }
  for (const { name, value, ageMs } of used) known[name] = { value, observedAt: at - ageMs, staleAt: never };
  if (missing !== undefined) delete known[missing];
  const unknown = new Set<string>();
  const facts = new Proxy(known, {
    getOwnPropertyDescriptor(values, name) {
      const found = Reflect.getOwnPropertyDescriptor(values, name);
      const told = found !== undefined || name === missing || session.facts.has(String(name));
      if (!told) unknown.add(String(name));
      return found;
    },
  });
  return { facts, unknown };
}
