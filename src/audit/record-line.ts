import type { Beside, Closest, FactUse } from "../core/decision.ts";
import type { NatsDelivered, NatsPublished } from "../core/nats-record.ts";
import type { AuditRecord, DecisionData, RecordJob } from "../core/record.ts";
import { canonicalJson } from "./canonical-json.ts";

/**
 * A record as canonical JSON. Decisions and NATS messages, which come by the ten thousand, are written from literals
 * whose members are already in order: the same bytes, several times as fast.
 */
export function recordLine(record: AuditRecord): string {
  const data = sortedData(record);
  if (data === undefined) return canonicalJson(record);
  const text = sortedLine(record, data);
  // JSON.stringify writes a lone surrogate as an escape, and canonical JSON does not.
  return text.includes("\\ud") ? canonicalJson(record) : text;
}

/** Undefined for kinds that are too rare to matter. */
function sortedData(record: AuditRecord): object | undefined {
  switch (record.kind) {
    case "decision":
      return sortedDecision(record.data);
    case "nats.published":
      return sortedPublished(record.data);
    case "nats.delivered":
      return sortedDelivered(record.data);
    default:
      return undefined;
  }
}

/** Undefined members disappear in JSON.stringify; a literal of one fixed shape is the fastest to write. */
function sortedLine({ id, job, kind, seq, session, time, trace, v }: AuditRecord, data: object): string {
  return JSON.stringify({
    data,
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

function sortedPublished(data: NatsPublished) {
  const { account, bytes, connection, first, gateway, messages, policy, target } = data;
  return { account, bytes, connection, first, gateway, messages, policy, target } satisfies {
    [K in keyof Required<NatsPublished>]: unknown;
  };
}

function sortedDelivered(data: NatsDelivered) {
  return {
    account: data.account,
    bytes: data.bytes,
    connection: data.connection,
    each: data.each,
    first_at: data.first_at,
    gateway: data.gateway,
    last_at: data.last_at,
    messages: data.messages,
    sid: data.sid,
    subject: data.subject,
    target: data.target,
  } satisfies { [K in keyof Required<NatsDelivered>]: unknown };
}

function sortedDecision(data: DecisionData) {
  return {
    beside: data.beside === undefined ? undefined : sortedBeside(data.beside),
    canary: data.canary,
    closest: data.closest === undefined ? undefined : sortedClosest(data.closest),
    counted: data.counted,
    detail: data.detail,
    effect: data.effect,
    facts: data.facts?.map(sortedFact),
    gateway: data.gateway,
    host: data.host,
    missing: data.missing,
    narrowed: data.narrowed,
    operation: data.operation,
    outcome: data.outcome,
    policy: data.policy,
    reason: data.reason,
    rule: data.rule,
    stream: data.stream,
    target: data.target,
    token: data.token,
  } satisfies { [K in keyof Required<DecisionData>]: unknown };
}

function sortedBeside({ outcome, policy, reason, rule }: Beside) {
  return { outcome, policy, reason, rule } satisfies { [K in keyof Required<Beside>]: unknown };
}

function sortedClosest({ failed, file, found, line, met, of, role }: Closest) {
  return { failed, file, found, line, met, of, role } satisfies { [K in keyof Required<Closest>]: unknown };
}

function sortedFact({ ageMs, claimed, name, value }: FactUse) {
  return { ageMs, claimed, name, value } satisfies { [K in keyof Required<FactUse>]: unknown };
}

function sortedJob({ issuer, job_id, job_name, pipeline_id, project, project_id, ref }: RecordJob) {
  return { issuer, job_id, job_name, pipeline_id, project, project_id, ref } satisfies {
    [K in keyof Required<RecordJob>]: unknown;
  };
}
