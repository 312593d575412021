import { type ReasonCode, reasonCodes } from "../core/decision.ts";
import type { AuditRecord, DecisionData, RecordJob } from "../core/record.ts";
import type { SessionView } from "../core/session.ts";
import { nextStep } from "./next-step.ts";

/** A label and what stands behind it, ready to align. */
export interface RefusalLine {
  readonly label: string;
  readonly text: string;
}

export interface Refusal {
  readonly title: string;
  readonly lines: readonly RefusalLine[];
}

/**
 * What a record says to the person who has to do something about it: who, what, which role came nearest, what failed,
 * what next. Values come from the record alone, which holds only the job's own claims and facts. A decision that allowed
 * says only who asked and which role it was. `now` is in ms since the epoch.
 */
export function refusalLines(input: {
  readonly record: AuditRecord;
  /** The session as it is now, where the reader may see it. */
  readonly session?: SessionView;
  readonly now: number;
}): Refusal {
  const { record, session, now } = input;
  if (record.kind !== "decision") {
    return { title: `${record.kind}  ${record.time}`, lines: line("you are", whoAsked(record.job, record.session)) };
  }
  const { data } = record;
  const denied = data.effect === "deny" && data.reason !== "unidentified";
  const lines = [
    ...line("you are", whoAsked(record.job, record.session, factText(data, "change.iid"))),
    ...line("closest", denied ? closestText(data) : undefined),
    ...line("role", data.effect === "allow" ? data.rule : undefined),
    ...line("failed", denied ? failedText(data, record.job, session) : undefined),
    ...line("next", denied ? nextStep(data, session, now) : undefined),
    ...line("details", `wayleave explain ${record.id}`),
  ];
  return { title: `${outcomes[data.outcome]}  ${askedText(data)}`, lines };
}

const line = (label: string, text: string | undefined): readonly RefusalLine[] =>
  text === undefined ? [] : [{ label, text }];

const outcomes: Readonly<Record<DecisionData["outcome"], string>> = {
  allow: "allowed",
  deny: "denied",
  would_deny: "would deny",
  pass: "passed",
};

/** `POST billing /v1/releases`: the form that `policy can` and a policy's tests take. */
function askedText({ operation, target }: DecisionData): string {
  const [verb = "", ...object] = operation.split(" ");
  return [verb, target, ...object].join(" ");
}

function whoAsked(job: RecordJob | undefined, session: string | undefined, change?: string): string {
  if (job === undefined) return session === undefined ? "nobody: no session was recognised" : `session ${session}`;
  const ref = job.ref !== undefined && change !== undefined ? `${job.ref} (!${change})` : job.ref;
  return [
    job.project,
    job.job_name === undefined ? `job #${job.job_id}` : `job ${job.job_name} #${job.job_id}`,
    ref,
    session === undefined ? undefined : `session ${session}`,
  ]
    .filter((part) => part !== undefined)
    .join(" · ");
}

function closestText({ closest }: DecisionData): string | undefined {
  if (closest === undefined) return undefined;
  const { role, file, line: at, met, of } = closest;
  return `role ${role} (${file}:${at}), ${of - met} of ${of} ${of === 1 ? "condition" : "conditions"} not met`;
}

/** Reasons that the closest role's failed part says more about than the reason itself. */
const ofRole: ReadonlySet<ReasonCode> = new Set<ReasonCode>(["condition_failed", "fact_missing", "limit_exceeded"]);

function failedText(data: DecisionData, job: RecordJob | undefined, session: SessionView | undefined): string {
  const { closest, reason, rule, detail } = data;
  if (reason === "denied") return `deny ${rule ?? ""} forbids it${detail === undefined ? "" : `: ${detail}`}`;
  if (reason === "session_ended" && session?.endReason !== undefined) {
    return `the session is over: ${session.endReason.replaceAll("_", " ")}`;
  }
  if (detail !== undefined) return `${reasonCodes[reason]}: ${detail}`;
  if (reason === "no_role" && closest !== undefined) return outsideText(closest.failed, closest.found, data.operation);
  if (reason === "template_unfilled" && closest !== undefined) return `${closest.failed} cannot be filled for this job`;
  if (!ofRole.has(reason) || closest === undefined) return reasonCodes[reason];
  return `${partText(closest.failed, closest.found)}${circumstances(data, job, closest.failed)}`;
}

/** No role of the job names the operation; or one would, if the job were what its selector wants. */
function outsideText(failed: string, found: string | undefined, operation: string): string {
  if (failed === "operation") return `no role of this job names ${operation}`;
  return found === undefined ? `the role wants ${failed}` : `the role wants ${failed}; this job has ${found}`;
}

function partText(failed: string, found: string | undefined): string {
  if (failed === "limit") return `the rate limit is used up${found === undefined ? "" : ` (${found})`}`;
  if (found === undefined) return `${failed}: not known`;
  if (/^[a-z]+\.[a-z_]+$/.test(failed)) return `${failed} is ${found}`;
  const read = /[a-z]+\.[a-z_]+/.exec(failed)?.[0];
  // Several values come with their names.
  return read === undefined || found.includes(" is ") ? `${failed}: ${found}` : `${failed}: ${read} is ${found}`;
}

/** `: merge request !77 is open (asked gitlab 4 s ago)`. */
function circumstances(data: DecisionData, job: RecordJob | undefined, failed: string): string {
  const state = failed.includes("change.merged") ? factText(data, "change.state") : undefined;
  const iid = factText(data, "change.iid");
  const request = iid === undefined ? "the merge request" : `merge request !${iid}`;
  const used = data.facts?.find(({ name }) => failed.includes(name));
  const change = state === undefined ? "" : `: ${request} is ${state === "opened" ? "open" : state}`;
  if (used?.claimed === true) return `${change} (the job's token says so)`;
  return used === undefined ? change : `${change} (asked ${job?.issuer ?? "the CI"} ${ageText(used.ageMs)} ago)`;
}

function factText(data: DecisionData, name: string): string | undefined {
  const fact = data.facts?.find((use) => use.name === name);
  return fact === undefined ? undefined : String(fact.value);
}

/** `4 s`, `52 min`, `3 h`: rounded down, but at least a second. */
function ageText(ms: number): string {
  const seconds = Math.max(1, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}
