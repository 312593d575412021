import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { EndReason, SessionView } from "../core/session.ts";
import type { Policy } from "../policy/policy.ts";

/** Policy, as far as admission to NATS asks it. */
export type NatsPolicy = Pick<Policy, "version" | "versionFor" | "targets" | "targetFor" | "rolesFor" | "natsAccount">;

/** A gateway of the inventory and what it fronts. */
export interface NatsFront {
  readonly name: string;
  readonly targets: readonly string[];
}

/** Targets of kind nats that some role of this job names and the gateway fronts, sorted. */
export function natsTargetsOf(policy: NatsPolicy, identity: JobIdentity, { targets }: NatsFront): readonly string[] {
  const named = new Set(policy.rolesFor(identity).flatMap((role) => role.targets));
  return targets.filter((name) => named.has(name) && policy.targetFor(name, identity)?.kind === "nats").toSorted();
}

/** Throws for a session that is not active, with words for the client: when it ended, and why. `now` is ms since the epoch. */
export function refuseInactive(view: SessionView, now: number): void {
  if (view.state === "suspended") {
    throw new WayleaveError(
      "session_suspended",
      `session suspended: ${suspendWords[view.suspendReason ?? "lease_missed"]}`,
    );
  }
  const over = endedText(view, now);
  if (over !== undefined) throw new WayleaveError("session_ended", `session ended: ${over}`);
}

/** Why and when a session ended, `job finished 3 s ago`; undefined for one that has not. `now` is ms since the epoch. */
export function endedText({ state, endReason, endedAt, hardEndAt }: SessionView, now: number): string | undefined {
  if (state !== "ended" && hardEndAt > now) return undefined;
  const reason = state === "ended" ? (endReason ?? "operator") : "hard_end";
  const seconds = Math.max(0, Math.round((now - (endedAt ?? hardEndAt)) / 1000));
  return `${endWords[reason]} ${seconds} s ago`;
}

const endWords: Readonly<Record<EndReason, string>> = {
  client_end: "the job ended it",
  token_revoked: "its refresh token was revoked",
  refresh_reused: "a refresh token that had been replaced was used again",
  lease_lost: "its command fell silent",
  job_finished: "job finished",
  hard_end: "its time was up",
  policy_withdrawn: "policy granted it nothing any more",
  operator: "an operator ended it",
};

const suspendWords: Readonly<Record<NonNullable<SessionView["suspendReason"]>, string>> = {
  lease_missed: "the job's command missed its heartbeats; connect again when it beats",
  policy_withdrawn: "policy grants this job nothing any more",
};

/** The account of a job at a target. Throws `access_denied` where its name cannot be made. */
export function natsAccountOf(policy: NatsPolicy, identity: JobIdentity, target: string): string {
  const account = policy.natsAccount(target, identity);
  if (account !== undefined) return account;
  const written = policy.targetFor(target, identity)?.nats?.account ?? "";
  throw new WayleaveError(
    "access_denied",
    `This job cannot fill the account ${written} of target ${target}; give the job what the template names.`,
  );
}

/** First token of the job's own inboxes: every session's is another. */
export function natsInbox(session: string): string {
  return `_INBOX_${session.replace(/^ses_/, "")}`;
}

/**
 * `gitlab/1042/7712 acme/shop ses_0123456789abcdef`: issuer, project id and job id, the project's path, the session. One line
 * of printable ASCII: whatever else an id or path holds is percent-encoded.
 */
export function natsIdentity(session: string, { issuer, project, job }: JobIdentity): string {
  const word = (text: string) => encodeURI(text.toWellFormed());
  return `${word(issuer)}/${word(project.id)}/${word(job.id)} ${word(project.path)} ${session}`;
}
