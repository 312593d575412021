import type { ReasonCode } from "../../core/decision.ts";
import { parsePath } from "../../core/path.ts";
import type { Answer, DecisionPoint, Question } from "../decision-point.ts";

/** What one token may do on one target: the reference policy of these tests, read with core's one reading of a path. */
export interface FakeRight {
  readonly token: string;
  readonly target: string;
  readonly hosts: readonly string[];
  readonly methods: readonly string[];
  /** A request path is allowed below it. */
  readonly prefix: readonly string[];
}

export interface FakePolicy {
  readonly rights: readonly FakeRight[];
  readonly observed?: readonly string[];
  readonly shared?: readonly string[];
  readonly asserted?: readonly string[];
  readonly cacheSeconds?: number;
}

/** The reference policy on one request: undefined allows, else the reason. Also applied to what an upstream says it served. */
export function refusedFor(policy: FakePolicy, question: Question): ReasonCode | undefined {
  if (question.ambiguity !== undefined) return "ambiguous_request";
  if (question.operation.kind !== "http") return "target_unknown";
  const { method, host, path, stream } = question.operation;
  const parsed = parsePath(path);
  if (!parsed.ok) return "ambiguous_path";
  if (stream) return "stream_refused";
  const token = /^Bearer (\S+)$/.exec(question.authorization ?? "")?.[1];
  if (token === undefined) return "no_credential";
  const mine = policy.rights.filter((right) => right.token === token);
  if (mine.length === 0) return "credential_invalid";
  const here = mine.filter((right) => right.target === question.target);
  if (!here.some((right) => right.hosts.includes(host))) return "host_mismatch";
  const allowed = here.some(
    (right) =>
      right.methods.includes(method) && right.prefix.every((segment, index) => parsed.segments[index] === segment),
  );
  return allowed ? undefined : "no_role";
}

/** A decision point with a policy of a few lines; `asked` is everything it was asked. */
export function fakeDecisionPoint(policy: FakePolicy): DecisionPoint & { readonly asked: Question[] } {
  const asked: Question[] = [];
  return {
    asked,
    answer(question: Question): Answer {
      asked.push(question);
      const reason = refusedFor(policy, question);
      return fakeAnswer(policy, question, reason, asked.length);
    },
  };
}

function fakeAnswer(policy: FakePolicy, question: Question, reason: ReasonCode | undefined, number: number): Answer {
  const outcome = outcomeOf(policy, question, reason);
  const known = reason !== "no_credential" && reason !== "credential_invalid";
  const asserted = outcome === "allow" && policy.asserted?.includes(question.target);
  return {
    outcome,
    reason: outcome === "pass" ? "unidentified" : (reason ?? "allowed"),
    record: `rec_${String(number).padStart(12, "0")}`,
    ...(known ? identity : {}),
    ...(outcome === "allow" ? { rule: "read-billing" } : {}),
    ...(asserted ? { assertion: "eyJ0.eyJ0.c2ln" } : {}),
    traceparent: question.traceparent ?? "00-11111111111111111111111111111111-2222222222222222-01",
    cacheSeconds: outcome === "allow" ? (policy.cacheSeconds ?? 0) : 0,
    consumesAuthorization: known,
    unauthenticated: !known,
  };
}

const identity = {
  subject: "spiffe://acme.example/ci/gitlab/1042",
  session: "ses_8f2k8f2k8f2k8f2k",
  job: "acme/shop#7712",
};

function outcomeOf(policy: FakePolicy, question: Question, reason: ReasonCode | undefined): Answer["outcome"] {
  if (reason === undefined) return "allow";
  if (reason === "no_credential" && policy.shared?.includes(question.target)) return "pass";
  return policy.observed?.includes(question.target) ? "would_deny" : "deny";
}
