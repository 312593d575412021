import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import { type AuditEvent, recordJob, type TraceId } from "../core/record.ts";
import type { Narrowing } from "../core/session.ts";
import { type Issued, type Issuing, nextRefresh, planCredential, refuseEnded, sameHash, sha256 } from "./issue.ts";
import { enter, hardEnd, type OpeningDeps, planOpening, replayLeewayMs, settle, traced } from "./opening.ts";
import type { VerifiedSubject } from "./ports.ts";
import type { Replay, Session, SessionTable } from "./table.ts";

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

/** The job's own token, presented by a client of a gateway instead of being exchanged. */
export interface ConnectRequest {
  readonly subjectToken: string;
  /** Name of the gateway: the only place where the token is good from then on. */
  readonly gateway: string;
  readonly from: string | undefined;
  /** Called before a session is opened, with the verified identity; what it throws refuses the token, which stays unused. */
  accept(identity: JobIdentity): void;
}

export interface Exchange {
  /** RFC 8693 token exchange: subject token in, session and first access token out. */
  (request: ExchangeRequest): Promise<Issued>;
  /**
   * The session that a token presented at a gateway stands for, whatever its state: the first use opens it, by the same rules
   * as an exchange but with no credential handed out; the same token at the same gateway finds it again for as long as the
   * session is known. Throws `subject_token_replayed` for a token that was used anywhere else.
   */
  connect(request: ConnectRequest): Promise<Session>;
}

export interface ExchangeDeps extends Issuing, OpeningDeps {
  verify(subjectToken: string): Promise<VerifiedSubject>;
}

const idempotencyWindowMs = 60_000;

/**
 * Subject tokens to sessions. The replay, retry, tombstone and liveness rules are those of the design; each refusal throws its
 * own code, and nothing is minted before it is durable.
 */
export function createExchange(deps: ExchangeDeps): Exchange {
  const { table } = deps;
  /** One use of a subject token at a time: the second waits and is then judged as a repeat. */
  const running = new Map<string, Promise<unknown>>();

  const alone = async <T>({ replayKey }: VerifiedSubject, use: () => Promise<T>): Promise<T> => {
    for (let before = running.get(replayKey); before !== undefined; before = running.get(replayKey)) {
      await before.catch(() => undefined);
    }
    const work = use();
    running.set(replayKey, work);
    try {
      return await work;
    } finally {
      running.delete(replayKey);
    }
  };

  const exchange = async (request: ExchangeRequest): Promise<Issued> => {
    const subject = await deps.verify(request.subjectToken);
    return alone(subject, () => exchangeOnce(request, subject));
  };

  return Object.assign(exchange, {
    async connect(request: ConnectRequest): Promise<Session> {
      const tokenHash = sha256(request.subjectToken);
      const known = table.byTokenHash(tokenHash);
      if (known !== undefined) return presentedAgain(request, known);
      const subject = await deps.verify(request.subjectToken);
      return alone(subject, () => connectOnce(request, subject, tokenHash));
    },
  });

  async function exchangeOnce(request: ExchangeRequest, subject: VerifiedSubject): Promise<Issued> {
    // A token that was used before is told so, also after its job: that is what a thief's second use looks like.
    refuseForgotten(table, subject);
    const used = table.replay(subject.replayKey);
    if (used !== undefined) return repeat(deps, request, table.find(used.sessionId), used);
    const identity = await settle(deps, subject, request.runner);
    const joined = sessionOfKey(table, identity, request.jkt);
    if (joined !== undefined) return renew(deps, request, subject, joined);
    return open(deps, request, subject, identity);
  }

  async function connectOnce(request: ConnectRequest, subject: VerifiedSubject, tokenHash: string): Promise<Session> {
    refuseForgotten(table, subject);
    const used = table.replay(subject.replayKey);
    const session = used === undefined ? undefined : table.find(used.sessionId);
    if (session?.presented?.tokenHash === tokenHash) return presentedAgain(request, session);
    if (used !== undefined) throw usedElsewhere(used);
    const identity = await settle(deps, subject, undefined);
    request.accept(identity);
    const planned = await planOpening(deps, request, subject, identity);
    if (planned.hardEndAt <= deps.clock.now()) {
      throw new WayleaveError("subject_token_expired", "This token's time is over; it opens no session any more.");
    }
    const presented = { gateway: request.gateway, token_hash: tokenHash };
    return (await enter(deps, planned, { presented }, [])).session;
  }
}

/** A clock that went forward and back would make tokens good again of which nothing is known any more. */
function refuseForgotten(table: ExchangeDeps["table"], { expiresAt }: VerifiedSubject): void {
  if (!table.forgets(expiresAt + replayLeewayMs)) return;
  const detail =
    "The broker's clock has been past this token's end, and went back. Check that clock; a new job has a new token.";
  throw new WayleaveError("subject_token_expired", detail);
}

function presentedAgain({ gateway }: ConnectRequest, session: Session): Session {
  if (session.presented?.gateway === gateway) return session;
  throw usedElsewhere({ usedAt: session.openedAt, sessionId: session.id, from: undefined });
}

function usedElsewhere({ usedAt, sessionId, from }: Pick<Replay, "usedAt" | "sessionId" | "from">): WayleaveError {
  const where = from === undefined ? "" : ` from ${from}`;
  return new WayleaveError(
    "subject_token_replayed",
    `This token was first used ${new Date(usedAt).toISOString()} by ${sessionId}${where}, and not here. ` +
      "Where the job has a session already, give what `wayleave nats env` prints.",
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
  const { id: sessionId, identity, jkt } = session;
  const holder = { sessionId, identity, hardEndAt: renewal, jkt };
  const plan = await planCredential(deps, holder, request.narrowing, deps.clock.now());
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
  const planned = await planOpening(deps, request, subject, identity);
  const { id, hardEndAt } = planned;
  const holder = { sessionId: id, identity, hardEndAt, jkt: request.jkt };
  const plan = await planCredential(deps, holder, request.narrowing, planned.now);
  const bound = {
    ...(request.jkt === undefined ? {} : { jkt: request.jkt }),
    ...(request.idempotencyKey === undefined ? {} : { idempotency_hash: sha256(request.idempotencyKey) }),
  };
  const { session, record } = await enter(deps, planned, bound, [{ ...plan.event, ...traced(request) }]);
  return { ...plan.issued, refreshToken: deps.refreshToken(id, 0), session: session.view, record };
}
