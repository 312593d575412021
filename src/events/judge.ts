import { type RecordJob, recordJob } from "../core/record.ts";
import type { SessionView } from "../core/session.ts";
import type { CompiledEvent, EventVerdict } from "../policy/policy.ts";
import type { CauseTable } from "./cause-table.ts";
import { readOrigin } from "./origin.ts";
import { pipelineVariables } from "./pipeline-variables.ts";
import type { EventDeps, EventMessage, KnownSession } from "./ports.ts";
import { subjectMatches } from "./subject-filter.ts";

/** Why a message may start nothing. Public codes. */
export type RefusalCode =
  | "too_old"
  | "subject_mismatch"
  | "not_from_a_job"
  | "session_unknown"
  | "origin_mismatch"
  | "outside_session"
  | "not_allowed"
  | "condition_failed"
  | "fact_missing"
  | "depth_exceeded"
  | "variables_refused"
  | "cannot_start";

export type Judgement =
  | {
      readonly allowed: true;
      readonly session: string;
      readonly job: RecordJob;
      readonly depth: number;
      /** Cause of the publishing job's own pipeline. */
      readonly parent?: string;
      readonly variables: Readonly<Record<string, string>>;
    }
  | {
      readonly allowed: false;
      readonly code: RefusalCode;
      readonly detail: string;
      /** Where it is known whose message it is. */
      readonly session?: string;
      readonly job?: RecordJob;
    };

/** A message older than this starts nothing by itself: after a long outage, people want to choose what still runs. */
const maxAgeMs = 24 * 3_600_000;

/** How far nats-server's clock may be from ours, ms. */
const clockSkewMs = 5_000;

/**
 * Whether a message may start the event's pipeline, and with what. The publisher is the session that the gateway's own
 * headers name: it must have been open when the stream took the message, by the clock of nats-server, and policy must allow
 * it now, by its latest facts as of then. Not checked here: that nobody but the gateway and the broker publishes in the account.
 * Rejects where a session cannot be looked up.
 */
export async function judge(
  deps: Pick<EventDeps, "session" | "identityHeader" | "now">,
  table: Pick<CauseTable, "causeOf">,
  rule: CompiledEvent,
  message: EventMessage,
  options: { readonly anyAge: boolean },
): Promise<Judgement> {
  if (!subjectMatches(rule.on.subject, message.subject))
    return refused("subject_mismatch", `The subject is not one of ${rule.on.subject}.`);
  if (!options.anyAge && deps.now() - message.storedAt > maxAgeMs)
    return refused("too_old", "It lay in the stream for more than a day. Retry it if it is still wanted.");
  const origin = readOrigin(message);
  if (origin === undefined)
    return refused("not_from_a_job", "It has no identity headers of the gateway. Only jobs' messages start pipelines.");
  const known = await deps.session(origin.session);
  if (known === undefined) return refused("session_unknown", `There never was a session ${origin.session}.`);
  const { view } = known;
  const who = { session: view.id, job: recordJob(view.identity) };
  if (origin.identity !== deps.identityHeader(view))
    return { ...refused("origin_mismatch", "Its identity header names another job than its session's."), ...who };
  if (!openAt(view, message.storedAt))
    return { ...refused("outside_session", `The stream took it while ${view.id} was not open.`), ...who };
  return { ...judgeJob(rule, message, known, table), ...who };
}

function judgeJob(
  rule: CompiledEvent,
  message: EventMessage,
  { view, facts }: KnownSession,
  table: Pick<CauseTable, "causeOf">,
): Judgement {
  const { identity } = view;
  const parent = table.causeOf(identity.issuer, identity.project.id, identity.pipelineId);
  // What the records say now; the session may have been opened before they said it.
  const cause = parent ?? identity.cause;
  const verdict = rule.mayCause(cause === undefined ? identity : { ...identity, cause }, facts, message.storedAt);
  if (!verdict.allowed)
    return refused(verdictCodes[verdict.reason], `Event ${rule.name} starts nothing for it: ${verdict.detail}.`);
  const read = pipelineVariables(message.payload, rule.variables);
  if ("problem" in read) return refused("variables_refused", read.problem);
  return {
    allowed: true,
    session: view.id,
    job: recordJob(identity),
    depth: (cause?.depth ?? 0) + 1,
    ...(parent === undefined ? {} : { parent: parent.id }),
    variables: read.values,
  };
}

const verdictCodes = {
  not_for: "not_allowed",
  too_deep: "depth_exceeded",
  condition_failed: "condition_failed",
  fact_missing: "fact_missing",
} as const satisfies Record<Extract<EventVerdict, { allowed: false }>["reason"], RefusalCode>;

function openAt({ openedAt, endedAt, hardEndAt }: SessionView, at: number): boolean {
  return at >= openedAt - clockSkewMs && at <= Math.min(endedAt ?? hardEndAt, hardEndAt) + clockSkewMs;
}

function refused(code: RefusalCode, detail: string) {
  return { allowed: false, code, detail } as const;
}
