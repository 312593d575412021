import type { FactUse, Outcome, ReasonCode } from "../core/decision.ts";
import type { NatsPublished } from "../core/nats-record.ts";
import type { AuditRecord, DecisionData } from "../core/record.ts";
import { type NatsOperation, natsVerbs, type Operation } from "../core/target.ts";
import { acknowledgedConsumer, publishUse } from "../gateway/nats/reserved-subjects.ts";

/** One request that was decided, as far as its record tells it. */
export interface RecordedRequest {
  readonly record: string;
  /** ms since the epoch. */
  readonly at: number;
  readonly session?: string;
  /** Path of the job's project, for people. */
  readonly project?: string;
  readonly gateway: string;
  readonly target: string;
  /** As the record writes it. */
  readonly text: string;
  /** Any of these would do, in this order; none where the record does not hold the whole of it. */
  readonly operations: readonly Operation[];
  readonly outcome: Outcome;
  readonly reason: ReasonCode;
  readonly rule?: string;
  readonly facts: readonly FactUse[];
  /** The fact that was missing. */
  readonly missing?: string;
  readonly narrowed?: readonly string[];
  readonly counted: boolean;
  /** The token it came with claimed to be ours and was not usable. */
  readonly ours: boolean;
}

/** Kinds of records that requests are read from. */
export const requestKinds = ["decision", "nats.published", "nats.subscribed", "emit.published"] as const;

/** Records cut an operation off at so many characters. */
const longestText = 512;

/**
 * The decided requests a record tells of; none for other kinds. A message that NATS carried has no decision of its own: each
 * counts as one that was let through. Not told: answers, messages to the job's own inboxes, what gateways decided natively.
 */
export function requestsOf(record: AuditRecord): readonly RecordedRequest[] {
  switch (record.kind) {
    case "decision":
      return decided(record, record.data);
    case "nats.published":
      return published(record, record.data);
    case "nats.subscribed": {
      const { subject, queue, rule } = record.data;
      if (rule === "inbox") return [];
      const operation: NatsOperation = {
        kind: "nats",
        verb: "sub",
        subject,
        ...(queue === undefined ? {} : { queue }),
      };
      return [passed(record, record.data, [operation], rule)];
    }
    case "emit.published": {
      const { target, subject, rule = "-" } = record.data;
      if (record.session === undefined) return [];
      return [passed(record, { gateway: "broker", target }, [{ kind: "nats", verb: "pub", subject }], rule)];
    }
    default:
      return [];
  }
}

function decided(record: AuditRecord, data: DecisionData): readonly RecordedRequest[] {
  const operation = operationOf(data);
  // Observed at a NATS gateway: it is among the messages and subscriptions that were let through.
  if (operation?.kind === "nats" && data.outcome === "would_deny") return [];
  const {
    gateway,
    target,
    operation: text,
    outcome,
    reason,
    rule,
    facts = [],
    missing,
    narrowed,
    counted,
    token,
  } = data;
  return [
    {
      ...placed(record),
      gateway,
      target,
      text,
      operations: operation === undefined ? [] : [operation],
      outcome,
      reason,
      ...(rule === undefined ? {} : { rule }),
      facts,
      ...(missing === undefined ? {} : { missing }),
      ...(narrowed === undefined ? {} : { narrowed }),
      counted: counted === true,
      ours: token !== undefined || record.session !== undefined,
    },
  ];
}

/** Undefined for a text that was cut, and for one that is no operation (an ambiguous request can be anything). */
function operationOf({ operation: text, host = "", stream }: DecisionData): Operation | undefined {
  if (text.length >= longestText) return undefined;
  const [first = "", second, third, ...more] = text.split(" ");
  const verb = natsVerbs.find((one) => one === first);
  if (verb !== undefined && second !== undefined) {
    if (more.length > 0) return undefined;
    return { kind: "nats", verb, subject: second, ...(third === undefined ? {} : { queue: third }) };
  }
  if (second === undefined) return { kind: "verb", verb: first };
  if (third !== undefined) return undefined;
  return { kind: "http", method: first, path: second, host, stream: stream === true };
}

function published(record: AuditRecord, data: NatsPublished): readonly RecordedRequest[] {
  return data.messages.flatMap((message) => {
    const [rule = "", subject = "", reply = "-"] = message.split(" ");
    const operations = rule === "reply" ? [] : sendOperations(subject, reply !== "-");
    return operations.length === 0 ? [] : [passed(record, data, operations, rule)];
  });
}

/** What policy is asked about a message on the subject: see the NATS gateway. */
function sendOperations(subject: string, replies: boolean): readonly NatsOperation[] {
  const consumer = acknowledgedConsumer(subject);
  const use = consumer === undefined ? publishUse(subject) : ({ kind: "pull", consumer } as const);
  if (use.kind === "reserved") return [];
  // Asked of any consumer there is: it stands for no right of its own.
  if (use.kind === "pull") return use.consumer === "*.*" ? [] : [natsOf("pull", use.consumer)];
  return replies ? [natsOf("req", subject), natsOf("pub", subject)] : [natsOf("pub", subject)];
}

const natsOf = (verb: NatsOperation["verb"], subject: string): NatsOperation => ({ kind: "nats", verb, subject });

function passed(
  record: AuditRecord,
  { gateway, target }: { readonly gateway: string; readonly target: string },
  operations: readonly NatsOperation[],
  rule: string,
): RecordedRequest {
  const observed = rule === "-";
  const [{ verb, subject } = { verb: "pub", subject: "" }] = operations;
  return {
    ...placed(record),
    gateway,
    target,
    text: `${verb} ${subject}`,
    operations,
    outcome: observed ? "would_deny" : "allow",
    reason: observed ? "no_role" : "allowed",
    ...(observed ? {} : { rule }),
    facts: [],
    counted: false,
    ours: true,
  };
}

function placed({ id, time, session, job }: AuditRecord) {
  return {
    record: id,
    at: Date.parse(time),
    ...(session === undefined ? {} : { session }),
    ...(job === undefined ? {} : { project: job.project }),
  };
}
