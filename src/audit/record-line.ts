import type { Closest, FactUse } from "../core/decision.ts";
import type { AuditRecord, DecisionData, RecordJob } from "../core/record.ts";
import { canonicalJson } from "./canonical-json.ts";

type DecisionRecord = AuditRecord & { readonly kind: "decision" };

/**
 * A record as canonical JSON. Decisions, which come by the ten thousand, are written from literals whose members are
 * already in order: the same bytes, four times as fast.
 */
export function recordLine(record: AuditRecord): string {
  if (record.kind !== "decision") return canonicalJson(record);
  const text = decisionLine(record);
  // JSON.stringify writes a lone surrogate as an escape, and canonical JSON does not.
  return text.includes("\\ud") ? canonicalJson(record) : text;
}

/** Undefined members disappear in JSON.stringify; a literal of one fixed shape is the fastest to write. */
function decisionLine({ data, id, job, kind, seq, session, time, trace, v }: DecisionRecord): string {
  return JSON.stringify({
    data: sortedData(data),
    id,
    job: job === undefined ? undefined : sortedJob(job),
    kind,
    seq,
    session,
    time,
    trace,
    v,
  });
}

function sortedData(data: DecisionData) {
  return {
    closest: data.closest === undefined ? undefined : sortedClosest(data.closest),
    detail: data.detail,
    effect: data.effect,
    facts: data.facts?.map(sortedFact),
    gateway: data.gateway,
    host: data.host,
    operation: data.operation,
    outcome: data.outcome,
    policy: data.policy,
    reason: data.reason,
    rule: data.rule,
    target: data.target,
    token: data.token,
  } satisfies { [K in keyof Required<DecisionData>]: unknown };
}

function sortedClosest({ failed, file, found, line, met, of, role }: Closest) {
  return { failed, file, found, line, met, of, role } satisfies { [K in keyof Required<Closest>]: unknown };
}

function sortedFact({ ageMs, name, value }: FactUse) {
  return { ageMs, name, value } satisfies { [K in keyof Required<FactUse>]: unknown };
}

function sortedJob({ issuer, job_id, job_name, pipeline_id, project, project_id, ref }: RecordJob) {
  return { issuer, job_id, job_name, pipeline_id, project, project_id, ref } satisfies {
    [K in keyof Required<RecordJob>]: unknown;
  };
}
