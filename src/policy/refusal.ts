import type { ReasonCode } from "../core/decision.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { AuditRecord, DecisionData, RecordJob } from "../core/record.ts";
import type { SessionView } from "../core/session.ts";

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
 * what next. Values come from the record alone, which holds only the job's own claims and facts.
 */
export function refusalLines(input: {
  readonly record: AuditRecord;
  readonly session?: SessionView;
  readonly now: number;
}): Refusal {
  const { record, session, now } = input;
  if (record.kind !== "decision")
    return { title: `${record.kind}  ${record.time}`, lines: [youAre(record.job, session, record.session)] };
  const { data } = record;
  const lines = [
    youAre(record.job, session, record.session),
    ...closestLine(data),
    ...failedLine(data, session),
    { label: "next", text: nextText(data, session, now) },
    { label: "details", text: `wayleave explain ${record.id}` },
  ];
  const word = data.outcome === "would_deny" ? "would deny" : data.outcome === "deny" ? "denied" : "allowed";
  const [verb = "", ...object] = data.operation.split(" ");
  return { title: `${word}  ${[verb, data.target, ...object].join(" ")}`, lines };
}

function youAre(job: RecordJob | undefined, session: SessionView | undefined, id: string | undefined): RefusalLine {
  if (job === undefined) return { label: "you are", text: "nobody: no session was recognised" };
  const identity: JobIdentity | undefined = session?.identity;
  const name = job.job_name === undefined ? `job #${job.job_id}` : `job ${job.job_name} #${job.job_id}`;
  const ref = job.ref ?? identity?.ref;
  return {
    label: "you are",
    text: [job.project, name, ref, id === undefined ? undefined : `session ${id}`]
      .filter((part) => part !== undefined)
      .join(" · "),
  };
}

function closestLine({ closest, outcome }: DecisionData): readonly RefusalLine[] {
  if (closest === undefined || outcome === "allow") return [];
  const { role, file, line, met, of } = closest;
  const left = of - met;
  return [
    {
      label: "closest",
      text: `role ${role} (${file}:${line}), ${left} of ${of} ${of === 1 ? "condition" : "conditions"} not met`,
    },
  ];
}

function failedLine(
  { closest, reason, rule, detail }: DecisionData,
  session: SessionView | undefined,
): readonly RefusalLine[] {
  const failed = (text: string) => [{ label: "failed", text }];
  if (reason === "allowed") return [];
  if (reason === "denied") return failed(`deny rule ${rule ?? ""} forbids it`);
  if (reason === "session_ended") {
    const end = session?.endReason === undefined ? "" : `: ${session.endReason.replaceAll("_", " ")}`;
    return failed(`the session is over${end}`);
  }
  if (reason === "ambiguous_request") return failed(detail ?? "the request can be read in two ways");
  if (closest === undefined || closest.failed === "narrowing") return failed(sentences[reason].failed);
  if (closest.failed === "operation") return failed("none of its operations is this one");
  return failed(closest.found === undefined ? closest.failed : closest.found);
}

/** For each reason: what failed in a word, and what to do next. */
const sentences: Readonly<Record<ReasonCode, { readonly failed: string; readonly next: string }>> = {
  allowed: { failed: "nothing", next: "nothing: it was allowed" },
  no_credential: {
    failed: "no Wayleave token came with the request",
    next: "send the access token: `wayleave exec --target <name> -- …`, or the header Authorization",
  },
  credential_invalid: {
    failed: "the token is not one this broker issued",
    next: "get a new access token with `wayleave token`",
  },
  credential_expired: {
    failed: "the access token's time is over",
    next: "renew it: `wayleave token`, or call through the listener of `wayleave exec`",
  },
  credential_revoked: {
    failed: "the access token was revoked",
    next: "get a new one with `wayleave token`, if the session still lives",
  },
  proof_required: {
    failed: "the target wants a token bound to a key",
    next: "ask the platform team: bearer tokens are not enough for this target",
  },
  session_ended: { failed: "the session is over", next: "start a new job; nothing of this one works any more" },
  session_suspended: {
    failed: "the session is suspended",
    next: "let the command's heartbeat through, or ask whether policy still grants this job anything",
  },
  session_unknown: {
    failed: "this broker knows no such session",
    next: "exchange the job's token again; the broker may have been restored",
  },
  outside_narrowing: {
    failed: "the token was narrowed to other targets or roles",
    next: "ask for this target when getting the token: `--target`",
  },
  target_unknown: {
    failed: "policy has no such target",
    next: "check the gateway's include, and `targets` in the policy",
  },
  host_mismatch: {
    failed: "the host is not one of the target's",
    next: "call the host that policy names for this target",
  },
  ambiguous_path: {
    failed: "the path can be read in two ways",
    next: "write the path plainly: no empty, dot or encoded-slash segments, no `;` or `\\`",
  },
  ambiguous_request: {
    failed: "the request can be read in two ways",
    next: "send each header once, and no hop-by-hop tricks",
  },
  stream_refused: {
    failed: "streams are off for this operation",
    next: "ask for `stream: true` on the operation, behind a gateway that can end a stream",
  },
  no_role: {
    failed: "no role of this job allows it",
    next: "add the operation to a role that is for this job, or call what its roles name",
  },
  condition_failed: {
    failed: "a condition does not hold",
    next: "make the condition true; this session may then go on with what it holds",
  },
  fact_missing: {
    failed: "a fact is not known",
    next: "make the fact known: an API credential for the CI, exactly one merge request for this commit",
  },
  template_unfilled: {
    failed: "a ${…} in the role cannot be filled for this job",
    next: "give the job what it names (an environment, a plain ref), or write the role without it",
  },
  limit_exceeded: { failed: "the rate limit is used up", next: "wait and try again" },
  denied: { failed: "a deny rule forbids it", next: "ask the owner of the rule; a deny is never outvoted" },
  unidentified: { failed: "nothing", next: "nothing: the route is shared" },
  outage: {
    failed: "Wayleave could not decide",
    next: "this is an outage, not a refusal: try again, then tell the platform team",
  },
};

function nextText(data: DecisionData, session: SessionView | undefined, now: number): string {
  const { reason, closest } = data;
  const change =
    closest?.failed.includes("change.merged") === true || closest?.found?.includes("change.merged") === true;
  if (reason === "condition_failed" && change)
    return `merge the merge request; this job may then go on with what it holds${remaining(session, now)}`;
  if (reason === "condition_failed" && closest?.failed.includes("change.approvals") === true) {
    return `get the approval for this head commit; this job may then go on with what it holds${remaining(session, now)}`;
  }
  return sentences[reason].next;
}

function remaining(session: SessionView | undefined, now: number): string {
  if (session === undefined || session.state !== "active" || session.hardEndAt <= now) return "";
  return `, for another ${Math.max(1, Math.round((session.hardEndAt - now) / 60_000))} min`;
}
