import type { Clock } from "../core/clock.ts";
import { type Decision, type Outcome, outcomeOf, type ReasonCode } from "../core/decision.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { Facts } from "../core/fact.ts";
import type { Recorder } from "../core/record.ts";
import type { Narrowing, SessionView } from "../core/session.ts";
import type { Operation } from "../core/target.ts";
import type { CompiledTarget, Policy } from "../policy/policy.ts";
import { decisionEvent, type Finding } from "./decision-record.ts";
import { keepUntil } from "./keep.ts";
import type { Limits } from "./limits.ts";
import { outageAnswer } from "./outage-answer.ts";
import * as caller from "./request-credential.ts";
import { refusedAt, routeOf, unidentified } from "./route-finding.ts";

/** What a gateway dialect extracted from one question. Everything here was sent by an authenticated gateway. */
export interface Question {
  /** Gateway name from the inventory. */
  readonly gateway: string;
  readonly target: string;
  readonly operation: Operation;
  /** The `Authorization` value the client sent; undefined when there was none. */
  readonly authorization: string | undefined;
  /** The client's `DPoP` header: the proof that goes with a token bound to a key. */
  readonly proof?: string;
  /**
   * Set by a gateway behind another: the value of the client's `Txn-Token`, empty where there was none. The caller is then
   * known by this assertion alone; `authorization` is left to the upstream.
   */
  readonly assertion?: string;
  /** A request that was let through before asks for more: its caller is known by this alone, proven and counted already. */
  readonly admitted?: Holder;
  /** The request can be read in two ways: refuse with `ambiguous_request` and this detail. */
  readonly ambiguity?: string;
  readonly traceparent?: string;
}

/** What a dialect needs to answer. */
export interface Answer {
  readonly outcome: Outcome;
  /** Present whenever a session was recognised. */
  readonly decision?: Decision;
  readonly reason: ReasonCode;
  /** Of the break-glass responder, which has reasons of its own: what is said instead of `reason`. */
  readonly breakglass?: "break_glass" | Extract<ErrorCode, `breakglass_${string}`>;
  /** Empty only when nothing could be recorded (`outage`). */
  readonly record: string;
  readonly subject?: string;
  readonly session?: string;
  /** `acme/shop#7712`, for logs. */
  readonly job?: string;
  readonly rule?: string;
  /** Signed `txntoken+jwt`, where the outcome is allow: made where the target or a gateway behind wants it, passed on behind another gateway. */
  readonly assertion?: string;
  /** W3C traceparent to forward: the caller's, or a new one. */
  readonly traceparent: string;
  /** Seconds a gateway may cache this answer; 0: not at all. */
  readonly cacheSeconds: number;
  /** Until when it may be repeated while nobody answers, as `keepUntil` gives it. */
  readonly keepUntil?: number;
  /** True when the presented Authorization is Wayleave's and must not travel further. */
  readonly consumesAuthorization: boolean;
  /** True for a credential problem (HTTP 401), false for a refusal of policy (403). */
  readonly unauthenticated: boolean;
  readonly retryAfterSeconds?: number;
  /** Where the outcome is allow: who holds what was given, for a gateway that keeps the request open. */
  readonly holder?: Holder;
}

/** Whose a request is, once its credential was verified. */
export interface Holder {
  readonly jti: string;
  readonly sessionId: string;
  readonly narrowing: Narrowing;
}

/** The decision point every dialect asks. Synchronous for a warm token: then the answer is no promise. */
export interface DecisionPoint {
  /** Never throws and never rejects: what cannot be decided is a deny with reason `outage`. */
  answer(question: Question): Answer | Promise<Answer>;
}

/** For gateways that hold requests open. */
export interface StandingPoint extends DecisionPoint {
  /**
   * Why a request that was let through, with `admitted`, would now be refused; undefined while it would not. Nothing is
   * recorded and no limit is asked. Never throws: what cannot be decided is `outage`.
   */
  refusedNow(question: Question & { readonly admitted: Holder }): ReasonCode | undefined;
}

interface TokenMeaning extends Holder {
  /** ms since the epoch. Absent: nothing of it may be kept. */
  readonly expiresAt?: number;
  /** Thumbprint of the key that the token is bound to. */
  readonly jkt?: string;
  /** Of an assertion: whether it was made for just this request. */
  names?(question: Question): boolean;
}

export interface DecisionPointDeps {
  readonly clock: Clock;
  readonly recorder: Pick<Recorder, "note" | "settled">;
  readonly limits: Limits;
  /** True: an answer waits for its durable record. False: the record is durable within 50 ms. */
  readonly durableBeforeAnswer: boolean;
  policy(): Policy;
  session(id: string): { readonly view: SessionView; readonly facts: Facts } | undefined;
  revoked(jti: string): boolean;
  /** `ours`: signed by us but unusable, or naming us as issuer. `foreign`: somebody else's credential. */
  token(bearer: string, now: number): TokenVerdict | Promise<TokenVerdict>;
  /** The meaning of an assertion, for gateways behind others; never `foreign`. */
  assertion(token: string, now: number): Promise<TokenVerdict>;
  /** Why the request's proof is none by the key of this thumbprint, for this request and token; undefined: it is one. */
  prove(question: Question, token: string, jkt: string, now: number): Promise<ProofProblem | undefined>;
  subject(view: SessionView): string;
  /** Keyed fingerprint of a refused token that claims to be ours. */
  fingerprint(token: string): string;
  /** True where another gateway stands behind this one for the target: it knows the caller by the assertion. */
  passesOn(gateway: string, target: string): boolean;
  /** How long the gateway may repeat what was allowed on the target while nobody answers, ms; 0, or absent: not at all. */
  keepMs?(gateway: string, target: string): number;
  newTraceparent(): string;
  /** Told why an answer became an outage: for the log. Must not throw. */
  onFault(error: unknown): void;
  mintAssertion(question: Question, view: SessionView, rule: string, transaction: string, now: number): Promise<string>;
}

export type ProofProblem = "proof_invalid" | "proof_replayed";

export type TokenVerdict =
  | { readonly state: "valid"; readonly token: TokenMeaning }
  | { readonly state: "expired"; readonly token: TokenMeaning }
  | { readonly state: "ours" }
  | { readonly state: "foreign" };

const foreign: TokenVerdict = { state: "foreign" };

/** Longest time a gateway may keep an answer, seconds. */
const cacheSeconds = 2;

const traceparentPattern = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** Everything around the pure decision: token, live session, limits, the record, the assertion. */
export function createDecisionPoint(deps: DecisionPointDeps): StandingPoint {
  const outage = (question: Question, traceparent: string, error: unknown) =>
    outageAnswer(deps, question, traceparent, error);
  return {
    answer(question) {
      const now = deps.clock.now();
      const sent = question.traceparent ?? "";
      const traceparent = traceparentPattern.test(sent) ? sent : deps.newTraceparent();
      try {
        const credential = caller.credentialOf(question);
        const verdict = ask(deps, question, credential, now);
        const asked = { question, credential, now };
        const judged =
          verdict instanceof Promise
            ? verdict.then((known) => weigh(deps, { ...asked, verdict: known }, traceparent))
            : weigh(deps, { ...asked, verdict }, traceparent);
        if (!(judged instanceof Promise)) return judged;
        return judged.catch((error: unknown) => outage(question, traceparent, error));
      } catch (error) {
        return outage(question, traceparent, error);
      }
    },
    refusedNow: (question) => refusedNow(deps, question),
  };
}

function refusedNow(deps: DecisionPointDeps, question: Question & { readonly admitted: Holder }) {
  try {
    const target = deps.policy().targets.get(question.target);
    const verdict: TokenVerdict = { state: "valid", token: question.admitted };
    const asked: Case = { question, credential: caller.noCredential, verdict, now: deps.clock.now() };
    const { outcome, reason } = target === undefined ? unknownTarget : judge(deps, asked, target);
    return outcome === "deny" ? reason : undefined;
  } catch (error) {
    deps.onFault(error);
    return "outage";
  }
}

function ask(
  deps: DecisionPointDeps,
  { assertion, admitted }: Question,
  { token }: caller.Credential,
  now: number,
): TokenVerdict | Promise<TokenVerdict> {
  if (admitted !== undefined) return { state: "valid", token: admitted };
  if (token === "") return foreign;
  return assertion === undefined ? deps.token(token, now) : deps.assertion(token, now);
}

/** As `settle`, once it is known whether who sent the token may use it. */
function weigh(deps: DecisionPointDeps, asked: Case, traceparent: string): Answer | Promise<Answer> {
  const { question, credential, verdict, now } = asked;
  if (verdict.state !== "valid" || caller.provenBefore(question)) return settle(deps, asked, traceparent);
  const { jkt } = verdict.token;
  const misused = caller.misuse(credential, jkt);
  if (misused !== undefined) return settle(deps, { ...asked, unproven: misused }, traceparent);
  if (jkt === undefined) return settle(deps, asked, traceparent);
  const proven = deps.prove(question, credential.token, jkt, now);
  return proven.then((unproven) => settle(deps, unproven ? { ...asked, unproven } : asked, traceparent));
}

/** One question and what is known before policy is asked. */
interface Case {
  readonly question: Question;
  readonly credential: caller.Credential;
  readonly verdict: TokenVerdict;
  readonly now: number;
  /** Why the token is of no use to who sent it. */
  readonly unproven?: ReasonCode;
}

function settle(deps: DecisionPointDeps, asked: Case, traceparent: string): Answer | Promise<Answer> {
  const { question } = asked;
  const target = deps.policy().targets.get(question.target);
  const finding = target === undefined ? unknownTarget : judge(deps, asked, target);
  const record = deps.recorder.note(decisionEvent(question, finding, deps.policy(), traceparent));
  const { decision } = finding;
  if (decision?.limit !== undefined && finding.outcome === "allow") deps.limits.count(decision.limit);
  const kept = keptUntil(deps, asked, finding);
  const answer = toAnswer(deps, question, finding, record, traceparent, kept);
  const asserts =
    finding.outcome === "allow" &&
    question.assertion === undefined &&
    question.admitted === undefined &&
    wantsAssertion(deps, question, finding.target);
  if (!asserts && !deps.durableBeforeAnswer) return answer;
  return finish(deps, asked, finding, answer, asserts).catch((error: unknown) =>
    outageAnswer(deps, question, traceparent, error),
  );
}

/** What a gateway that keeps is told; of nobody's requests nothing is kept, so strangers fill no gateway's memory. */
function keptUntil(deps: DecisionPointDeps, { question, verdict, now }: Case, finding: Finding): number | undefined {
  const { view, decision, outcome } = finding;
  const keepMs = deps.keepMs?.(question.gateway, question.target) ?? 0;
  if (keepMs === 0 || view === undefined || !("token" in verdict)) return undefined;
  if (verdict.token.jkt !== undefined) return undefined; // each proof is good once
  return keepUntil({
    keepMs,
    allowed: outcome === "allow",
    limited: decision?.limit !== undefined,
    stream: question.operation.kind === "http" && question.operation.stream,
    behind: question.assertion !== undefined,
    expiresAt: verdict.token.expiresAt ?? 0,
    hardEndAt: view.hardEndAt,
    now,
  });
}

function wantsAssertion(deps: DecisionPointDeps, question: Question, target: CompiledTarget | undefined): boolean {
  return target?.assertion === "required" || deps.passesOn(question.gateway, question.target);
}

async function finish(
  deps: DecisionPointDeps,
  asked: Case,
  finding: Finding,
  answer: Answer,
  asserts: boolean,
): Promise<Answer> {
  const { view, decision } = finding;
  const assertion =
    asserts && view !== undefined
      ? deps.mintAssertion(asked.question, view, decision?.rule ?? "", answer.record, asked.now)
      : undefined;
  // Nothing is minted before its record is durable, so an assertion waits as well.
  const [signed] = await Promise.all([assertion, deps.recorder.settled()]);
  if (signed === undefined) return answer;
  // One assertion is for one request.
  return { ...answer, assertion: signed, cacheSeconds: 0, ...(answer.keepUntil === undefined ? {} : { keepUntil: 0 }) };
}

const unknownTarget: Finding = { reason: "target_unknown", outcome: "deny", ours: false };

function judge(deps: DecisionPointDeps, asked: Case, target: CompiledTarget): Finding {
  const { question, credential, verdict } = asked;
  const ours = verdict.state !== "foreign";
  if (question.ambiguity !== undefined) {
    // What can be read in two ways is of no route.
    return { reason: "ambiguous_request", outcome: target.mode === "observe" ? "would_deny" : "deny", ours };
  }
  const refused = (reason: ReasonCode) => ({ reason, ours, ...refusedAt(routeOf(deps.policy(), question), reason) });
  if (verdict.state === "foreign") return unidentified(deps.policy(), question, credential.token !== "");
  const presented = () => ({ token: deps.fingerprint(credential.token) });
  if (verdict.state === "ours") return { ...refused("credential_invalid"), ...presented() };
  const session = deps.session(verdict.token.sessionId);
  if (session === undefined) return { ...refused("session_unknown"), ...presented() };
  const { view } = session;
  const own = deps.policy().targetFor(question.target, view.identity);
  const unusable = caller.unusableReason(verdict, asked, deps.revoked, (own ?? target).proof);
  if (unusable !== undefined) {
    // A token in hands that cannot prove the key may be a stolen one: it can be traced.
    return { ...refused(unusable), view, ...(caller.proofReasons.has(unusable) ? presented() : {}) };
  }
  const { narrowing } = verdict.token;
  const decision = deps.policy().decide(
    {
      session: view,
      narrowing,
      target: question.target,
      operation: question.operation,
      facts: session.facts,
      gateway: question.gateway,
      ...(caller.provenBefore(question) ? { counted: true } : {}),
      now: asked.now,
    },
    deps.limits,
  );
  const outcome = outcomeOf(decision);
  const known = own === undefined ? {} : { target: own };
  return { reason: decision.reason, outcome, ours, view, decision, holder: verdict.token, ...known };
}

function toAnswer(
  deps: DecisionPointDeps,
  question: Question,
  finding: Finding,
  record: string,
  traceparent: string,
  kept: number | undefined,
): Answer {
  const { view, decision } = finding;
  const { operation } = question;
  const readOnly = operation.kind === "http" && (operation.method === "GET" || operation.method === "HEAD");
  const behind = question.assertion !== undefined;
  const cacheable =
    finding.outcome === "allow" &&
    decision?.unconditional === true &&
    readOnly &&
    !behind &&
    question.proof === undefined;
  return {
    outcome: finding.outcome,
    reason: finding.reason,
    record,
    traceparent,
    cacheSeconds: cacheable ? cacheSeconds : 0,
    consumesAuthorization: finding.ours && !behind,
    unauthenticated: caller.credentialReasons.has(finding.reason),
    ...(kept === undefined ? undefined : { keepUntil: kept }),
    ...(decision === undefined ? {} : { decision }),
    ...(decision?.rule === undefined ? {} : { rule: decision.rule }),
    ...(decision?.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: decision.retryAfterSeconds }),
    ...(view === undefined ? {} : whoOf(deps, view)),
    // One assertion goes with the request to its end (draft-ietf-oauth-transaction-tokens: unchanged along the chain).
    ...(finding.outcome === "allow" && question.assertion ? { assertion: question.assertion } : {}),
    ...(finding.outcome === "allow" && finding.holder !== undefined ? { holder: finding.holder } : {}),
  };
}

function whoOf(deps: DecisionPointDeps, view: SessionView) {
  const { project, job } = view.identity;
  return { subject: deps.subject(view), session: view.id, job: `${project.path}#${job.id}` };
}
