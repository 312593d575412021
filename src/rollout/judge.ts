import { type Counts, type Decision, type LimitUse, type Outcome, outcomeOf, type ReasonCode } from "../core/decision.ts";
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
  const { reason, target, operations } = request;
  if (reason === "outage") return { unknown: "nothing was decided: an outage" };
  if (reason === "subject_refused") return { outcome: request.outcome, reason };
  if (reason === "target_unknown" && request.session === undefined) {
    return draft.targets.has(target) ? { unknown: "who asked: the target was not known" } : same(request);
  }
  const route = routeOf(draft, request);
  if (unidentifiedReasons.has(reason) || (reason === "credential_invalid" && !request.ours)) {
    if (route === undefined) return { unknown: "the whole path: the record holds its beginning" };
    if (route.pass) return { outcome: "pass", reason: "unidentified" };
    const refusal = reason === "unidentified" ? "no_credential" : reason;
    return { outcome: outcomeOf({ effect: "deny", mode: route.mode }), reason: refusal };
  }
  if (reason === "session_suspended" && session?.withdrawn === true) {
    return { unknown: "whether it had been suspended: a policy granted it nothing" };
  }
  if (refusedBefore.has(reason)) return refusedAnyway(request, route?.mode);
  if (reason === "outside_narrowing" && request.narrowed === undefined) return same(request);
  if (session === undefined) return { unknown: "the job: its session's opening is not among the records" };
  if (operations.length === 0) return { unknown: "the whole path: the record holds its beginning" };
  if (reason === "proof_required" || draft.targetFor(target, session.identity)?.proof === "required") {
    return proofJudgement(draft, request, session);
  }
  return decideOn(draft, request, session, counts);
}

const same = ({ outcome, reason }: RecordedRequest): Judgement => ({ outcome, reason });

function routeOf(draft: Policy, { target, operations }: RecordedRequest) {
  const [operation] = operations;
  if (operation === undefined) return undefined;
  return operation.kind === "http"
    ? draft.unidentified(target, operation.method, operation.path)
    : draft.unidentified(target, "", "");
}

/** The mode of a request that can be read in two ways is its target's. */
function refusedAnyway(request: RecordedRequest, mode: "enforce" | "observe" | undefined): Judgement {
  if (mode === undefined) return same(request);
  return { outcome: outcomeOf({ effect: "deny", mode }), reason: request.reason };
}

/** Proof is asked for before policy is, and records do not say who brought one. */
function proofJudgement(draft: Policy, request: RecordedRequest, { identity }: KnownSession): Judgement {
  const wanted = draft.targetFor(request.target, identity)?.proof === "required";
  if (wanted && request.reason === "proof_required") return same(request);
  return { unknown: "whether the token was bound to a key" };
}

function decideOn(
  draft: Policy,
  request: RecordedRequest,
  session: KnownSession,
  counts: ReplayCounts,
): Judgement {
  const { target, at: now, narrowed, counted, gateway } = request;
  const { facts, unknown } = factsAt(request, session);
  const view = { id: session.id, identity: session.identity, state: "active", openedAt: session.openedAt, hardEndAt: Number.MAX_SAFE_INTEGER } as const;
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
