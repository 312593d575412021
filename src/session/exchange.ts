import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Facts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import { sessionId } from "../core/ids.ts";
import { type AuditEvent, recordJob, type TraceId } from "../core/record.ts";
import type { Narrowing } from "../core/session.ts";
import { type Issued, type Issuing, nextRefresh, planCredential, refuseEnded, sameHash, sha256 } from "./issue.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { IssuerAccess, PolicyAccess, VerifiedSubject } from "./ports.ts";
import type { Session, SessionTable } from "./table.ts";

/** One request for a session, its transport already parsed. */
export interface ExchangeRequest {
  readonly subjectToken: string;
  readonly narrowing: Narrowing;
  /** Thumbprint of the key whose proof came along. */
  readonly jkt: string | undefined;
  readonly idempotencyKey: string | undefined;
  /** SPIFFE ID that the job's runner proved by an SVID of its own. */
  readonly runner?: string;
  /** Where the request came from, for the record. */
  readonly from: string | undefined;
  readonly trace: TraceId | undefined;
}

export interface ExchangeDeps extends Issuing {
  readonly table: SessionTable;
  readonly lifecycle: Lifecycle;
  readonly clock: Clock;
  readonly random: (bytes: number) => Uint8Array;
  verify(subjectToken: string): Promise<VerifiedSubject>;
  issuer(name: string): IssuerAccess | undefined;
  policy(): PolicyAccess;
  /** Reads the facts this identity's roles ask for; never rejects: what cannot be read is missing. */
  readFacts(identity: JobIdentity): Promise<Facts>;
}

const idempotencyWindowMs = 60_000;
const replayLeewayMs = 60_000;

/**
 * RFC 8693 token exchange: subject token in, session and first access token out. The replay, retry, tombstone and
 * liveness rules are those of the design; each refusal throws its own code, and nothing is minted before it is durable.
 */
export function createExchange(deps: ExchangeDeps): (request: ExchangeRequest) => Promise<Issued> {
  const { table } = deps;
  /** One exchange per subject token at a time: the second waits and is then judged as a repeat. */
  const running = new Map<string, Promise<unknown>>();

  return async (request) => {
    const subject = await deps.verify(request.subjectToken);
    for (let before = running.get(subject.replayKey); before !== undefined; before = running.get(subject.replayKey)) {
      await before.catch(() => undefined);
    }
    const work = exchangeOnce(request, subject);
    running.set(subject.replayKey, work);
    try {
      return await work;
    } finally {
      running.delete(subject.replayKey);
    }
  };

  async function exchangeOnce(request: ExchangeRequest, subject: VerifiedSubject): Promise<Issued> {
    // A token that was used before is told so, also after its job: that is what a thief's second use looks like.
    const used = table.replay(subject.replayKey);
    if (used !== undefined) return repeat(deps, request, table.find(used.sessionId), used);
    refuseOver(table, subject.identity);
    refusePinned(deps, subject.identity);
    const identity = onRunner(await settleWithApi(deps, subject.identity), request.runner);
    const joined = sessionOfKey(table, identity, request.jkt);
    if (joined !== undefined) return renew(deps, request, subject, joined);
    return open(deps, request, subject, identity);
  }
}

/** What selectors compare is in the attributes, as everything else that was verified. */
function onRunner(identity: JobIdentity, spiffeId: string | undefined): JobIdentity {
  if (spiffeId === undefined) return identity;
  return {
    ...identity,
    runner: { ...identity.runner, spiffeId },
    attributes: { ...identity.attributes, runner_spiffe_id: spiffeId },
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

/** The same subject token again: the same session for the same key or the same Idempotency-Key, a refusal for all else. */
async function repeat(
  deps: ExchangeDeps,
  request: ExchangeRequest,
  session: Session | undefined,
  used: { readonly usedAt: number; readonly sessionId: string; readonly from: string | undefined },
): Promise<Issued> {
  if (session === undefined || !mayRepeat(request, session, used.usedAt, deps.clock.now())) {
    const when = new Date(used.usedAt).toISOString();
    throw new WayleaveError(
      "subject_token_replayed",
      `This token was first used ${when} by ${used.sessionId}${used.from === undefined ? "" : ` from ${used.from}`}. ` +
        "A retry needs the proof of the same key, or the same Idempotency-Key within 60 s.",
    );
  }
  refuseEnded(session);
  return issueAgain(deps, request, session, []);
}

function mayRepeat(request: ExchangeRequest, session: Session, usedAt: number, now: number): boolean {
  if (session.jkt !== undefined) return request.jkt === session.jkt;
  if (session.idempotencyHash === undefined || request.idempotencyKey === undefined) return false;
  return now - usedAt <= idempotencyWindowMs && sameHash(sha256(request.idempotencyKey), session.idempotencyHash);
}

/** A living session of the same job bound to the same key: a fresh token renews it rather than opening another. */
function sessionOfKey(table: SessionTable, identity: JobIdentity, jkt: string | undefined): Session | undefined {
  if (jkt === undefined) return undefined;
  return table
    .ofJob(identity.issuer, identity.job.id)
    .find((session) => session.jkt === jkt && session.view.state !== "ended");
}

async function renew(
  deps: ExchangeDeps,
  request: ExchangeRequest,
  subject: VerifiedSubject,
  session: Session,
): Promise<Issued> {
  const event: AuditEvent = {
    kind: "session.renewed",
    session: session.id,
    job: recordJob(session.identity),
    ...traced(request),
    data: {
      hard_end_at: Math.max(session.view.hardEndAt, hardEnd(deps, subject, session.openedAt)),
      replay_key: subject.replayKey,
      replay_until: subject.expiresAt + replayLeewayMs,
      ...(request.from === undefined ? {} : { from: request.from }),
    },
  };
  return issueAgain(deps, request, session, [event]);
}

/** A new access token, and for a bearer session a new refresh token, on an existing session. */
async function issueAgain(
  deps: ExchangeDeps,
  request: ExchangeRequest,
  session: Session,
  first: readonly AuditEvent[],
): Promise<Issued> {
  const renewal = first[0]?.kind === "session.renewed" ? first[0].data.hard_end_at : session.view.hardEndAt;
  const plan = await planCredential(deps, session.id, session.identity, renewal, request.narrowing, deps.clock.now());
  const next = nextRefresh(deps, session);
  const ids = await deps.lifecycle.record([...first, ...next.events, { ...plan.event, ...traced(request) }]);
  refuseEnded(session);
  return { ...plan.issued, refreshToken: next.token, session: session.view, record: ids.at(-1) ?? "" };
}

async function open(
  deps: ExchangeDeps,
  request: ExchangeRequest,
  subject: VerifiedSubject,
  identity: JobIdentity,
): Promise<Issued> {
  const policy = deps.policy();
  const roles = policy.rolesFor(identity);
  if (roles.length === 0) {
    throw new WayleaveError(
      "no_role",
      `No role of policy ${policy.version} is for ${identity.project.path} (${identity.issuer}, ref ${identity.ref ?? "none"}, fork ${identity.fork}). ` +
        "Add a selector that matches this job to a role's `for`.",
    );
  }
  const facts = await deps.readFacts(identity);
  const now = deps.clock.now();
  const id = sessionId(deps.random(10));
  const hardEndAt = hardEnd(deps, subject, now);
  const plan = await planCredential(deps, id, identity, hardEndAt, request.narrowing, now);
  const refreshToken = deps.refreshToken(id, 0);
  const opened: AuditEvent = {
    kind: "session.opened",
    session: id,
    job: recordJob(identity),
    ...traced(request),
    data: {
      identity,
      hard_end_at: hardEndAt,
      replay_key: subject.replayKey,
      replay_until: subject.expiresAt + replayLeewayMs,
      ...(request.jkt === undefined ? {} : { jkt: request.jkt }),
      refresh_hash: sha256(refreshToken),
      ...(request.idempotencyKey === undefined ? {} : { idempotency_hash: sha256(request.idempotencyKey) }),
      roles: roles.map((role) => role.id),
      policy: policy.version,
      token: deps.fingerprint(request.subjectToken),
      kid: subject.kid,
      ...(request.from === undefined ? {} : { from: request.from }),
    },
  };
  const pinned = pinEvents(deps, identity);
  const ids = await deps.lifecycle.record([...pinned, opened, { ...plan.event, ...traced(request) }]);
  const session = deps.table.find(id);
  if (session === undefined) throw new TypeError("a recorded session is in the table");
  session.facts = facts;
  // The job may have ended while its exchange was being recorded: the end wins.
  try {
    refuseOver(deps.table, identity);
  } catch (error) {
    await deps.lifecycle.end(session, "job_finished");
    throw error;
  }
  return { ...plan.issued, refreshToken, session: session.view, record: ids[pinned.length] ?? "" };
}

function hardEnd(deps: ExchangeDeps, subject: VerifiedSubject, openedAt: number): number {
  const longest = openedAt + deps.timings.maxSessionMs;
  const renewable = deps.issuer(subject.identity.issuer)?.renewable === true;
  return Math.min(longest, renewable ? deps.clock.now() + deps.timings.renewWithinMs : subject.expiresAt);
}

/** With an API credential the CI is asked whether the job runs; no answer is a refusal. */
async function settleWithApi(deps: ExchangeDeps, identity: JobIdentity): Promise<JobIdentity> {
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
function refusePinned(deps: ExchangeDeps, identity: JobIdentity): void {
  const { path, id } = identity.project;
  const locked = deps.policy().pins[`${identity.issuer}/${path}`];
  const pinned = locked ?? deps.table.pin(identity.issuer, path);
  if (pinned === undefined || pinned === id) return;
  throw new WayleaveError(
    "project_id_changed",
    `${path} used to be project ${pinned} and is now ${id}. If that is intended, set it in wayleave.lock with \`wayleave policy lock\`.`,
  );
}

function pinEvents(deps: ExchangeDeps, identity: JobIdentity): readonly AuditEvent[] {
  const { path, id } = identity.project;
  if (deps.table.pin(identity.issuer, path) === id) return [];
  return [{ kind: "project.pinned", data: { issuer: identity.issuer, path, id } }];
}

const traced = (request: ExchangeRequest) => (request.trace === undefined ? {} : { trace: request.trace });
