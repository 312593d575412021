import type { ReasonCode } from "../core/decision.ts";
import type { AuditRecord } from "../core/record.ts";
import { refusalLines } from "../policy/refusal.ts";
import type { Answer, Question } from "./decision-point.ts";

export type DenialProblem = Readonly<Record<string, string | number | undefined>>;

/** The denial for whoever sent the request: a problem document (RFC 9457) with what a refusal says in the job's log. */
export function denialProblem(question: Question, answer: Answer, status: number, reason: ReasonCode): DenialProblem {
  const { title, lines } = refusalLines({ record: recordOf(question, answer, reason), now: 0 });
  const said = Object.fromEntries(lines.map(({ label, text }) => [label, text]));
  return {
    type: "about:blank",
    title,
    status,
    code: reason,
    detail: said.failed,
    closest: said.closest,
    next: said.next,
    ...(answer.record === "" ? {} : { record: answer.record, explain: said.details }),
  };
}

/** The same in one line, for a `grpc-message`. */
export function denialLine({ title, detail, next, explain }: DenialProblem): string {
  return [title, detail, next, explain].filter((part) => part !== undefined).join("; ");
}

/** The decision as its record tells it, without who asked: whoever asked knows. */
function recordOf({ gateway, target, operation }: Question, answer: Answer, reason: ReasonCode): AuditRecord {
  const { decision, rule, record } = answer;
  const asked = operation.kind === "http" ? `${operation.method} ${operation.path}` : verbOf(operation);
  return {
    v: 1,
    id: record,
    seq: 0,
    time: "",
    kind: "decision",
    data: {
      gateway,
      target,
      operation: asked.slice(0, 512),
      effect: "deny",
      outcome: "deny",
      reason,
      policy: decision?.policyVersion ?? "",
      ...(rule === undefined ? {} : { rule }),
      ...(decision === undefined ? {} : { facts: decision.facts }),
      ...(decision?.closest === undefined ? {} : { closest: decision.closest }),
    },
  };
}

function verbOf(operation: Exclude<Question["operation"], { readonly kind: "http" }>): string {
  return operation.kind === "verb" ? operation.verb : operation.kind;
}
