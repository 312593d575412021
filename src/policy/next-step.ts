import type { ReasonCode } from "../core/decision.ts";
import type { DecisionData } from "../core/record.ts";
import type { SessionView } from "../core/session.ts";

/** What whoever was refused can do about it. `now` is in ms since the epoch. */
export function nextStep(data: DecisionData, session: SessionView | undefined, now: number): string {
  const { closest, reason } = data;
  if (reason === "condition_failed" && closest !== undefined) {
    return `${toMeet(data, closest.failed)}; this job may then go on with what it holds${remaining(session, now)}`;
  }
  if (reason === "no_role" && closest !== undefined && closest.failed !== "operation") {
    return `run the job where ${closest.failed} holds, or add the operation to a role of this job`;
  }
  if (reason === "session_suspended" && session?.suspendReason === "policy_withdrawn") {
    return "ask for a role that is for this job: policy grants it nothing any more, and the session ends after 10 min";
  }
  return steps[reason].replaceAll("<target>", data.target);
}

/** What makes a condition's failed part true, where that is plain. */
function toMeet(data: DecisionData, failed: string): string {
  const iid = data.facts?.find(({ name }) => name === "change.iid")?.value;
  const change = iid === undefined ? "the merge request" : `!${iid}`;
  if (/^change\.merged( == true)?$/.test(failed)) return `merge ${change}`;
  if (failed.startsWith("change.approvals >")) return `get ${change} approved at its head commit`;
  if (failed.startsWith("approval.")) return "have the deployment approved";
  return `make ${failed} true`;
}

function remaining(session: SessionView | undefined, now: number): string {
  if (session === undefined || session.state !== "active" || session.hardEndAt <= now) return "";
  return `, for another ${Math.max(1, Math.floor((session.hardEndAt - now) / 60_000))} min`;
}

const steps: Readonly<Record<ReasonCode, string>> = {
  allowed: "nothing: it was allowed",
  no_credential: "send the access token: wayleave exec --target <target> -- …, or the header Authorization: Bearer …",
  credential_invalid: "get a new access token with wayleave token; it must come from this broker",
  credential_expired: "renew it with wayleave token, or call through the listener of wayleave exec, which renews",
  credential_revoked: "get a new one with wayleave token, if the session still lives",
  proof_required: "call through wayleave exec, which holds the key; a bearer token is not enough for this target",
  proof_invalid:
    "call through wayleave exec, or make the proof for this method, URL and token, with a clock that is right",
  proof_replayed: "make a new proof for each request, also for a retry",
  bound_as_bearer:
    "send it as Authorization: DPoP … with a proof by the job's key; whoever lacks the key cannot use it",
  session_ended: "start a new job; nothing of this one works any more",
  session_suspended: "wait for the heartbeat of wayleave exec to come back, and try again; after 5 silent min it ends",
  session_unknown: "exchange the job's token again: wayleave exec, or wayleave token",
  outside_narrowing: "get a token for it: wayleave token --target <target>",
  target_unknown: "check the target's name in the gateway's configuration and under targets in the policy",
  host_mismatch: "call a host that policy lists for <target>, or add this one to the target's hosts",
  ambiguous_path: "write the path plainly: no empty, . or .. segment, no ; and no escapes but %20 and UTF-8",
  ambiguous_request: "send each header once, and no method or URL override",
  subject_refused:
    "name the subject's first word, no wildcard where one subject is meant, and nothing that begins with $ or _INBOX",
  stream_refused: "call without a stream, or have the operation say stream: true",
  no_role: "add the operation to a role that is for this job: wayleave policy can shows the effect",
  condition_failed: "make the role's condition true; this job may then go on with what it holds",
  fact_missing: "let the broker know it: the CI must have it for this job, and an API credential must be configured",
  template_unfilled:
    "give the job what the template names (an environment, a plain name), or write the role without it",
  limit_exceeded: "wait and try again; the answer's Retry-After says how long at most",
  denied: "ask whoever owns the deny; no role can outvote it",
  unidentified: "nothing: the route is shared",
  outage: "try again: this is an outage and no refusal; tell the platform team if it stays",
};
