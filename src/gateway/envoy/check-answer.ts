import type { ReasonCode } from "../../core/decision.ts";
import { challenge, fitsHeader, headerText } from "../answer-fields.ts";
import type { Answer, Question } from "../decision-point.ts";
import { denialLine, denialProblem } from "../denial-problem.ts";
import { strippedNames } from "./check-header-kind.ts";
import type { ClientRequest } from "./check-request.ts";

/** What Envoy does with the request, whichever way it asked. Header names are lower case. */
export type Verdict = {
  /** For Envoy's access log: strings by `sub`, `session`, `job`, `role`, `decision`, `reason`, `record`, `target`, `policy`, `trace`. */
  readonly metadata: Readonly<Record<string, string>>;
} & (
  | {
      readonly through: true;
      /** To the upstream, over whatever the client sent under these names. */
      readonly headers: readonly Header[];
      /** Not to the upstream. */
      readonly remove: readonly string[];
    }
  | {
      readonly through: false;
      readonly status: 401 | 403 | 429 | 503;
      /** To the client. */
      readonly headers: readonly Header[];
      /** `application/problem+json`; for a client of gRPC one line, which Envoy makes its `grpc-message`. */
      readonly body: string;
    }
);
export type Header = readonly [name: string, value: string];

/** Why a question was not put to the decision point. */
export interface Refusal {
  readonly reason: "gateway_unauthenticated" | "invalid_request" | "target_unknown" | "credential_invalid" | "outage";
  /** One cause, no secret and nothing of the client's. */
  readonly detail: string;
  /** Present once the gateway is authenticated. */
  readonly gateway?: string;
}

/** Far more than an assertion has, and far less than Envoy takes. */
const maxAssertion = 4096;

/** The decision about a client's request, as Envoy can act on it. */
export function verdictOf(question: Question, answer: Answer, request: ClientRequest): Verdict {
  const fits = fitsHeader(answer.assertion, maxAssertion);
  if (answer.outcome !== "deny" && fits) return letThrough(question, answer, request.twins);
  const reason = fits ? answer.reason : "outage";
  const outage = reason === "outage";
  const metadata = metadataOf(question, answer, outage ? "outage" : "deny", reason);
  const status = statusOf(answer, reason);
  const headers: Header[] = [
    ...denialHeaders(outage ? "outage" : "deny", reason),
    ["x-wayleave-record", answer.record],
  ];
  if (status === 401) headers.push(["www-authenticate", challenge(reason)]);
  if (answer.retryAfterSeconds !== undefined)
    headers.push(["retry-after", String(Math.ceil(answer.retryAfterSeconds))]);
  const problem = denialProblem(question, answer, status, reason);
  return {
    through: false,
    metadata,
    status,
    headers,
    body: request.grpc ? denialLine(problem) : JSON.stringify(problem),
  };
}

/** The answer to a question that was not decided: there is no record of it. */
export function refusalVerdict({ reason, detail }: Refusal, target = ""): Verdict {
  const decision = reason === "outage" ? "outage" : "deny";
  const status = reason === "outage" ? 503 : 403;
  return {
    through: false,
    metadata: { decision, reason, ...(target === "" ? {} : { target }) },
    status,
    headers: denialHeaders(decision, reason),
    body: JSON.stringify({ type: "about:blank", title: reason.replaceAll("_", " "), status, code: reason, detail }),
  };
}

function letThrough(question: Question, answer: Answer, twins: readonly string[]): Verdict {
  const headers: Header[] = [
    ["x-wayleave-decision", answer.outcome],
    ["x-wayleave-record", answer.record],
    ["traceparent", answer.traceparent],
  ];
  let set = 0;
  if (answer.session !== undefined) {
    set += 1;
    headers.push(["x-wayleave-session", answer.session]);
    headers.push(["x-wayleave-subject", headerText(answer.subject ?? "")]);
    headers.push(["x-wayleave-job", headerText(answer.job ?? "")]);
  }
  if (answer.rule !== undefined) {
    set += 2;
    headers.push(["x-wayleave-role", headerText(answer.rule)]);
  }
  if (answer.assertion !== undefined) {
    set += 4;
    headers.push(["txn-token", answer.assertion]);
  }
  if (answer.consumesAuthorization) set += 8;
  return {
    through: true,
    metadata: metadataOf(question, answer, answer.outcome, answer.reason),
    headers,
    remove: twins.length === 0 ? removals(set) : [...removals(set), ...twins],
  };
}

const removalsBySet = new Map<number, readonly string[]>();

/** Every name of ours that is not set, and what else no client may say. One list for each set of headers that were. */
function removals(set: number): readonly string[] {
  const known = removalsBySet.get(set);
  if (known !== undefined) return known;
  const kept = new Set(["x-wayleave-decision", "x-wayleave-record"]);
  if (set & 1) for (const name of ["session", "subject", "job"]) kept.add(`x-wayleave-${name}`);
  if (set & 2) kept.add("x-wayleave-role");
  if (set & 4) kept.add("txn-token");
  const names = strippedNames.filter((name) => !kept.has(name));
  if (set & 8) names.push("authorization", "dpop");
  removalsBySet.set(set, names);
  return names;
}

function metadataOf(
  question: Question,
  answer: Answer,
  decision: Answer["outcome"] | "outage",
  reason: ReasonCode,
): Record<string, string> {
  const metadata: Record<string, string> = { decision, reason, target: question.target, record: answer.record };
  metadata.trace = answer.traceparent.slice(3, 35);
  if (answer.session !== undefined) metadata.session = answer.session;
  if (answer.subject !== undefined) metadata.sub = answer.subject;
  if (answer.job !== undefined) metadata.job = answer.job;
  if (answer.rule !== undefined) metadata.role = answer.rule;
  if (answer.decision !== undefined) metadata.policy = answer.decision.policyVersion;
  return metadata;
}

function statusOf(answer: Answer, reason: ReasonCode): 401 | 403 | 429 | 503 {
  if (reason === "outage") return 503;
  if (reason === "limit_exceeded") return 429;
  return answer.unauthenticated ? 401 : 403;
}

function denialHeaders(decision: "deny" | "outage", reason: string): Header[] {
  return [
    ["content-type", "application/problem+json"],
    ["cache-control", "no-store"],
    ["x-wayleave-decision", decision],
    ["x-wayleave-reason", reason],
  ];
}
