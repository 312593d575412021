import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { type Facts, missingOf } from "../core/fact.ts";
import type { Cause, JobIdentity } from "../core/identity.ts";
import { sessionId } from "../core/ids.ts";
import { type AuditEvent, recordJob, type TraceId } from "../core/record.ts";
import { type Issuing, sha256 } from "./issue.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { IssuerAccess, PolicyAccess, VerifiedSubject } from "./ports.ts";
import type { Session, SessionTable } from "./table.ts";

/** What it takes to open a session, whoever asks. */
export interface OpeningDeps extends Pick<Issuing, "timings" | "random" | "fingerprint" | "refreshToken" | "caps"> {
  readonly table: SessionTable;
  readonly lifecycle: Lifecycle;
  readonly clock: Clock;
  issuer(name: string): IssuerAccess | undefined;
  policy(): PolicyAccess;
  /** Reads the facts this identity's roles ask for; never rejects: what cannot be read is missing. */
  readFacts(identity: JobIdentity): Promise<Facts>;
  /** Which event started the job's pipeline; undefined for none. Rejects `ci_api_unreachable` where that cannot be known. */
  causeOf(identity: JobIdentity): Promise<Cause | undefined>;
}

/** A token is refused as used for so long after its own time. */
export const replayLeewayMs = 60_000;

/** Everything that must hold of a token's job before the token opens or renews a session. */
export async function settle(
  deps: OpeningDeps,
  { identity }: VerifiedSubject,
  runner: string | undefined,
): Promise<JobIdentity> {
  refuseOver(deps.table, identity);
  refusePinned(deps, identity);
  const settled = await settleWithApi(deps, identity);
  const cause = await deps.causeOf(settled);
  return onRunner(cause === undefined ? settled : { ...settled, cause }, runner);
}

/** What selectors compare is in the attributes, as everything else that was verified. */
function onRunner(identity: JobIdentity, spiffeId: string | undefined): JobIdentity {
  if (spiffeId === undefined) return identity;
  return {
    ...identity,
    runner: { ...identity.runner, spiffeId },
    attributes: { ...identity.attributes, runner: spiffeId },
  };
}

function refuseOver(table: SessionTable, identity: JobIdentity): void {
  const ids = identity.attributes.project_id;
  for (const id of new Set([identity.project.id, ...(Array.isArray(ids) ? (ids as string[]) : [])])) {
    const tombstone = table.tombstone(identity.issuer, id, identity.job.id);
    if (tombstone !== undefined) throw over(identity, tombstone.status, tombstone.at);
  }
}

function over(identity: JobIdentity, status: string, at: number): WayleaveError {
  const when = new Date(at).toISOString();
  return new WayleaveError(
    "job_over",
    `Job ${identity.job.id} is over (${status}, ${when}); its token opens nothing any more. Start a new job.`,
  );
}

type Opening = Extract<AuditEvent, { readonly kind: "session.opened" }>;

export interface OpeningRequest {
  readonly subjectToken: string;
  readonly from: string | undefined;
  readonly trace?: TraceId | undefined;
}

/** A session that may be opened, before anything of it is recorded. */
export interface PlannedOpening {
  readonly id: string;
  readonly identity: JobIdentity;
  readonly facts: Facts;
  readonly now: number;
  readonly hardEndAt: number;
  readonly event: Opening;
}

export async function planOpening(
  deps: OpeningDeps,
  request: OpeningRequest,
  subject: VerifiedSubject,
  identity: JobIdentity,
): Promise<PlannedOpening> {
  const policy = deps.policy();
  const roles = policy.rolesFor(identity);
  if (roles.length === 0) {
    throw new WayleaveError(
      "no_role",
      `No role of policy ${policy.versionFor(identity)} is for ${identity.project.path} (${identity.issuer}, ref ${identity.ref ?? "none"}, fork ${identity.fork}). ` +
        "Add a selector that matches this job to a role's `for`.",
    );
  }
  deps.caps.session(identity);
  const facts = await deps.readFacts(identity);
  const now = deps.clock.now();
  const id = sessionId(deps.random(10));
  const hardEndAt = hardEnd(deps, subject, now);
  const event: Opening = {
    kind: "session.opened",
    session: id,
    job: recordJob(identity),
    ...traced(request),
    data: {
      identity,
      hard_end_at: hardEndAt,
      replay_key: subject.replayKey,
      replay_until: subject.expiresAt + replayLeewayMs,
      refresh_hash: sha256(deps.refreshToken(id, 0)),
      roles: roles.map((role) => role.id),
      policy: policy.versionFor(identity),
      token: deps.fingerprint(request.subjectToken),
      kid: subject.kid,
      ...(request.from === undefined ? {} : { from: request.from }),
      ...(Object.keys(facts).length === 0 ? {} : { facts }),
      ...missingOf(facts, policy.factsFor(identity)),
    },
  };
  return { id, identity, facts, now, hardEndAt, event };
}

/** Records the opening with what belongs to it, all durable together, and gives the session it made. */
export async function enter(
  deps: OpeningDeps,
  { id, identity, facts, event }: PlannedOpening,
  bound: Pick<Opening["data"], "jkt" | "idempotency_hash" | "presented">,
  more: readonly AuditEvent[],
): Promise<{ readonly session: Session; readonly record: string }> {
  const pinned = pinEvents(deps, identity);
  const opened = { ...event, data: { ...event.data, ...bound } };
  const ids = await deps.lifecycle.record([...pinned, opened, ...more]);
  const session = deps.table.find(id);
  if (session === undefined) throw new TypeError("a recorded session is in the table");
  deps.table.setFacts(session, facts);
  // The job may have ended while its exchange was being recorded: the end wins.
  try {
    refuseOver(deps.table, identity);
  } catch (error) {
    await deps.lifecycle.end(session, "job_finished");
    throw error;
  }
  return { session, record: ids[pinned.length] ?? "" };
}

export function hardEnd(deps: OpeningDeps, subject: VerifiedSubject, openedAt: number): number {
  const longest = openedAt + deps.timings.maxSessionMs;
  const renewable = deps.issuer(subject.identity.issuer)?.renewable === true;
  return Math.min(longest, renewable ? deps.clock.now() + deps.timings.renewWithinMs : subject.expiresAt);
}

/** With an API credential the CI is asked whether the job runs; no answer is a refusal. */
async function settleWithApi(deps: OpeningDeps, identity: JobIdentity): Promise<JobIdentity> {
  const api = deps.issuer(identity.issuer)?.api;
  if (api === undefined) return identity;
  const job = await api.jobStatus(identity);
  if (job.over) {
    await deps.lifecycle.jobOver(identity.issuer, identity.project.id, identity.job.id, job.status);
    throw over(identity, job.status, deps.clock.now());
  }
  if (!job.running) {
    throw new WayleaveError(
      "job_not_running",
      `Job ${identity.job.id} is ${job.status}, not running; a session opens only while its job runs.`,
    );
  }
  return {
    ...identity,
    job: { ...identity.job, ...(job.name === undefined ? {} : { name: job.name }) },
    // A token's own `yes` is never softened by a look-up.
    fork: identity.fork === "unknown" ? (job.fork ?? "unknown") : identity.fork,
  };
}

/** A path whose id changed is another project: refused, whoever registered the name again. */
function refusePinned(deps: OpeningDeps, identity: JobIdentity): void {
  const { path, id } = identity.project;
  const locked = deps.policy().pins[`${identity.issuer}/${path}`];
  const pinned = locked ?? deps.table.pin(identity.issuer, path);
  if (pinned === undefined || pinned === id) return;
  throw new WayleaveError(
    "project_id_changed",
    `${path} used to be project ${pinned} and is now ${id}. If that is intended, set it in wayleave.lock with \`wayleave policy lock\`.`,
  );
}

function pinEvents(deps: OpeningDeps, identity: JobIdentity): readonly AuditEvent[] {
  const { path, id } = identity.project;
  if (deps.table.pin(identity.issuer, path) === id) return [];
  return [{ kind: "project.pinned", data: { issuer: identity.issuer, path, id } }];
}

export const traced = (request: { readonly trace?: TraceId | undefined }) =>
  request.trace === undefined ? {} : { trace: request.trace };
