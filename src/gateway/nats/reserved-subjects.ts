import { reservedToken } from "../../policy/reserved-subject.ts";

/** What the gateway takes a subject for, before policy is asked. */
export type SubjectUse =
  /** Policy decides it as it stands. */
  | { readonly kind: "policy" }
  /** Part of fetching from one durable consumer: `<stream>.<consumer>`, or `*.*` for what needs a right to any of them. */
  | { readonly kind: "pull"; readonly consumer: string }
  /** Nobody's: `why` says what it is and what would do instead. */
  | { readonly kind: "reserved"; readonly why: string };

const policy: SubjectUse = { kind: "policy" };

/** What a message on the subject would be. The subject is one that NATS takes: no wildcards, no empty tokens. */
export function publishUse(subject: string): SubjectUse {
  return subject.startsWith("$JS.") ? jetstreamUse(subject) : subscribeUse(subject);
}

/** What a subscription to the subject would be, the job's own inboxes apart. */
export function subscribeUse(subject: string): SubjectUse {
  const dot = subject.indexOf(".");
  const reserved = reservedToken(dot < 0 ? subject : subject.slice(0, dot));
  return reserved === undefined ? policy : { kind: "reserved", why: `${reserved.why}; ${reserved.help}` };
}

const fetching = ["$JS.API.CONSUMER.MSG.NEXT.", "$JS.API.CONSUMER.INFO."];
const consumerName = /^[^.*>]+\.[^.*>]+$/;

function jetstreamUse(subject: string): SubjectUse {
  if (subject === "$JS.API.INFO") return { kind: "pull", consumer: "*.*" };
  const acknowledged = acknowledgedConsumer(subject);
  if (acknowledged !== undefined) return { kind: "pull", consumer: acknowledged };
  for (const prefix of fetching) {
    if (!subject.startsWith(prefix)) continue;
    const consumer = subject.slice(prefix.length);
    if (consumerName.test(consumer)) return { kind: "pull", consumer };
  }
  return subscribeUse(subject);
}

/** True for the subject that acknowledges one JetStream message: each message has its own. */
export function isAcknowledgement(subject: string): boolean {
  return subject.startsWith("$JS.ACK.");
}

/**
 * `<stream>.<consumer>` of an acknowledgement: `$JS.ACK.<stream>.<consumer>.` and five numbers, or with domain and account
 * hash before the stream, and perhaps one more token at the end. Undefined for anything else.
 */
export function acknowledgedConsumer(subject: string): string | undefined {
  if (!isAcknowledgement(subject)) return undefined;
  const tokens = subject.split(".");
  const at = tokens.length === 9 ? 2 : tokens.length === 11 || tokens.length === 12 ? 4 : 0;
  if (at === 0) return undefined;
  const numbers = tokens.slice(at + 2, at + 7);
  return numbers.every((token) => /^\d{1,20}$/.test(token)) ? `${tokens[at]}.${tokens[at + 1]}` : undefined;
}
