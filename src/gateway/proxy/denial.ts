import type { ReasonCode } from "../../core/decision.ts";
import { challenge } from "../answer-fields.ts";
import type { Answer, Question } from "../decision-point.ts";
import { denialLine, denialProblem } from "../denial-problem.ts";

/** What a client gets instead of the service's answer. */
export interface Refusal {
  readonly status: number;
  /** Names and values in turn. */
  readonly fields: readonly string[];
  readonly body: string;
}

/** Why there is no answer of the service. */
export type UpstreamFault = "unreachable" | "timeout" | "broken";

/** gRPC's codes for what HTTP calls these; `grpc-status` 7 for a refusal of policy. */
const grpcStatus: Readonly<Record<number, number>> = {
  401: 16,
  403: 7,
  408: 4,
  413: 8,
  429: 8,
  502: 14,
  503: 14,
  504: 4,
};

/** A decision against the request. `reason` replaces the answer's own where an open request lost its right. */
export function denial(question: Question, answer: Answer, grpc: boolean, reason = answer.reason): Refusal {
  const status = statusOf(answer, reason);
  const problem = denialProblem(question, answer, status, reason);
  const fields = [
    ...["x-wayleave-decision", reason === "outage" ? "outage" : "deny", "x-wayleave-reason", reason],
    ...["x-wayleave-record", answer.record, "cache-control", "no-store"],
  ];
  if (status === 401) fields.push("www-authenticate", challenge(reason));
  if (answer.retryAfterSeconds !== undefined) fields.push("retry-after", String(Math.ceil(answer.retryAfterSeconds)));
  return grpc ? grpcRefusal(status, fields, denialLine(problem)) : problemRefusal(status, fields, problem);
}

const ended: ReadonlySet<ReasonCode> = new Set([
  "session_ended",
  "session_suspended",
  "session_unknown",
  "credential_revoked",
]);

function statusOf(answer: Answer, reason: ReasonCode): number {
  if (reason === "outage") return 503;
  if (reason === "limit_exceeded") return 429;
  return answer.unauthenticated || ended.has(reason) ? 401 : 403;
}

const faults = {
  unreachable: { status: 502, detail: "cannot be reached" },
  timeout: { status: 504, detail: "did not answer in time" },
  broken: { status: 502, detail: "broke the connection, or gave an answer that can be read in two ways" },
} as const;

/** The request was allowed, and its service gave no answer: no denial, and no outage of Wayleave's. */
export function upstreamRefusal(fault: UpstreamFault, target: string, answer: Answer, grpc: boolean): Refusal {
  const { status, detail } = faults[fault];
  const fields = [
    ...["x-wayleave-decision", answer.outcome, "x-wayleave-upstream", fault],
    ...["x-wayleave-record", answer.record, "cache-control", "no-store"],
  ];
  const text = `The service behind target ${target} ${detail}. Wayleave let the request through; ask whoever runs the service.`;
  if (grpc) return grpcRefusal(status, fields, text);
  return problemRefusal(status, fields, {
    type: "about:blank",
    title: "no answer from the service",
    status,
    code: `upstream_${fault}`,
    detail: text,
    record: answer.record,
  });
}

function problemRefusal(status: number, fields: readonly string[], problem: object): Refusal {
  const body = JSON.stringify(problem);
  const length = String(Buffer.byteLength(body));
  return { status, fields: [...fields, "content-type", "application/problem+json", "content-length", length], body };
}

/** Trailers only: the whole answer is one block of headers. */
function grpcRefusal(status: number, fields: readonly string[], message: string): Refusal {
  return {
    status: 200,
    fields: [
      ...fields,
      ...["content-type", "application/grpc"],
      ...["grpc-status", String(grpcStatus[status] ?? 2), "grpc-message", grpcMessage(message)],
    ],
    body: "",
  };
}

/** Percent-encoded as gRPC over HTTP/2 says. */
export function grpcMessage(text: string): string {
  return text.replace(/[^\x20-\x24\x26-\x7e]+/gu, (part) => encodeURIComponent(part.toWellFormed()));
}
