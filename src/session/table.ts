import type { Facts } from "../core/fact.ts";
import { noFacts } from "../core/fact.ts";
import { type JobIdentity, jobKey } from "../core/identity.ts";
import type { AuditEvent, AuditRecord, EventData } from "../core/record.ts";
import type { EndReason, SessionState, SessionView, SuspendReason } from "../core/session.ts";

/** One session as the broker holds it. Only the table writes to it. Times are ms since the epoch. */
export interface Session {
  readonly id: string;
  readonly identity: JobIdentity;
  readonly openedAt: number;
  /** What decisions see; replaced, never changed, so that a decision in flight keeps what it read. */
  view: SessionView;
  facts: Facts;
  /** RFC 7638 thumbprint of the key it is bound to. */
  readonly jkt: string | undefined;
  refresh: RefreshState;
  readonly idempotencyHash: string | undefined;
  /** Where the job's own token opened it and is a password; undefined where the token was exchanged. */
  readonly presented: Presented | undefined;
  readonly suspensions: Set<SuspendReason>;
  /** Commands under a heartbeat, by lease. */
  readonly leases: Map<string, Lease>;
  /** True once any command ran under a heartbeat. */
  leased: boolean;
}

/** A subject token that a client of a gateway presented itself. */
export interface Presented {
  readonly gateway: string;
  /** Hex SHA-256 of the whole token. */
  readonly tokenHash: string;
}

/** The current refresh token, as a hash, and for a rotated one its predecessor. */
export interface RefreshState {
  readonly generation: number;
  readonly hash: string;
  readonly previousHash: string | undefined;
  readonly rotatedAt: number;
}

export interface Lease {
  /** Monotonic ms of the last beat. */
  lastBeatAt: number;
}

/** The first use of a subject token. */
export interface Replay {
  readonly sessionId: string;
  readonly usedAt: number;
  readonly until: number;
  readonly from: string | undefined;
}

/** A job that is over. */
export interface Tombstone {
  readonly status: string;
  readonly at: number;
  readonly until: number;
}

/** What just changed in the table: a session's state, hard end or facts, or one more token that is refused until ms since the epoch. */
export type TableChange =
  | { readonly session: Session }
  | { readonly revoked: { readonly jti: string; readonly until: number } };

/**
 * Everything the broker must remember about sessions, as a fold over records: `apply` is the only way state changes,
 * live and at replay, so that what was recorded and what is true cannot differ. The one exception is `end`, which acts
 * before its record is durable and which applying the record repeats without effect.
 */
export class SessionTable {
  readonly #sessions = new Map<string, Session>();
  readonly #byJob = new Map<string, Set<Session>>();
  readonly #byRefresh = new Map<string, Session>();
  readonly #byToken = new Map<string, Session>();
  readonly #replays = new Map<string, Replay>();
  /** The latest end of what was forgotten, ms since the epoch. */
  #forgotten = 0;
  readonly #tombstones = new Map<string, Tombstone>();
  readonly #pins = new Map<string, string>();
  readonly #paths = new Map<string, string>();
  readonly #revoked = new Map<string, number>();
  /** Monotonic ms; given to leases that are found held at replay. */
  readonly #monotonic: () => number;
  readonly #watchers = new Set<(change: TableChange) => void>();

  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  find(id: string): Session | undefined {
    return this.#sessions.get(id);
  }

  view(id: string): SessionView | undefined {
    return this.#sessions.get(id)?.view;
  }

  /** Sessions of one job, ended ones included. */
  ofJob(issuer: string, jobId: string): readonly Session[] {
    return [...(this.#byJob.get(jobKey(issuer, jobId)) ?? [])];
  }

  /** The session a refresh token belongs to, whatever its generation. */
  byRefreshHash(hash: string): Session | undefined {
    return this.#byRefresh.get(hash);
  }

  /** The session that a subject token opened at a gateway, by the hash of the whole token. */
  byTokenHash(hash: string): Session | undefined {
    return this.#byToken.get(hash);
  }

  /**
   * Whether what was known of a token that matters until then may be forgotten. Only a clock that went forward and back makes
   * it so for one that is not over.
   */
  forgets(until: number): boolean {
    return until <= this.#forgotten;
  }

  replay(key: string): Replay | undefined {
    return this.#replays.get(key);
  }

  tombstone(issuer: string, projectId: string, jobId: string): Tombstone | undefined {
    return this.#tombstones.get(tombstoneKey(issuer, projectId, jobId));
  }

  /** The id a project path was first seen with. */
  pin(issuer: string, path: string): string | undefined {
    return this.#pins.get(`${issuer}/${path}`);
  }

  /** The verified path of a project id, from the tokens of its own jobs. */
  pathOf(issuer: string, projectId: string): string | undefined {
    return this.#paths.get(`${issuer}/${projectId}`);
  }

  revoked(jti: string): boolean {
    return this.#revoked.has(jti);
  }

  /** Revoked tokens and until when each is refused, ms since the epoch. */
  revocations(): IterableIterator<readonly [jti: string, until: number]> {
    return this.#revoked.entries();
  }

  all(): IterableIterator<Session> {
    return this.#sessions.values();
  }

  /** Calls back, before anything else happens, with each opening, end, suspension, resumption, renewal, reading of facts and revocation. Returns how to stop. */
  watch(listener: (change: TableChange) => void): () => void {
    this.#watchers.add(listener);
    return () => this.#watchers.delete(listener);
  }

  /** What is known of the world for a session; it is not recorded here. */
  setFacts(session: Session, facts: Facts): void {
    session.facts = facts;
    this.#tell({ session });
  }

  /** Ends a session at once, before anything is recorded. False when it had ended already: an end is final. */
  end(session: Session, reason: EndReason, now: number): boolean {
    if (session.view.state === "ended") return false;
    session.view = { ...base(session), state: "ended", endReason: reason, endedAt: now };
    session.leases.clear();
    this.#tell({ session });
    return true;
  }

  /** Suspends or resumes a session for one cause at once; its record follows. False when that changes nothing. */
  suspend(session: Session, reason: SuspendReason, on: boolean): boolean {
    if (session.view.state === "ended" || session.suspensions.has(reason) === on) return false;
    if (on) session.suspensions.add(reason);
    else session.suspensions.delete(reason);
    session.view = project(session);
    this.#tell({ session });
    return true;
  }

  /** Remembers that a job is over at once; its record repeats it without effect. */
  bury(data: EventData["job.over"], at: number): void {
    const key = tombstoneKey(data.issuer, data.project_id, data.job_id);
    if (!this.#tombstones.has(key)) this.#tombstones.set(key, { status: data.status, at, until: data.until });
  }

  apply(record: AuditRecord): void {
    const time = Date.parse(record.time);
    const session = record.session === undefined ? undefined : this.#sessions.get(record.session);
    switch (record.kind) {
      case "project.pinned":
        this.#pins.set(`${record.data.issuer}/${record.data.path}`, record.data.id);
        this.#paths.set(`${record.data.issuer}/${record.data.id}`, record.data.path);
        return;
      case "session.opened":
        this.#open(record.session ?? "", record.data, time);
        return;
      case "job.over":
        this.bury(record.data, time);
        return;
      case "credential.revoked":
        this.#revoked.set(record.data.jti, record.data.until);
        this.#tell({ revoked: record.data });
        return;
      default:
        if (session !== undefined) this.#change(session, record, time);
    }
  }

  #open(id: string, data: EventData["session.opened"], time: number): void {
    if (this.#sessions.has(id)) return;
    const session: Session = {
      id,
      identity: data.identity,
      openedAt: time,
      view: { id, identity: data.identity, state: "active", openedAt: time, hardEndAt: data.hard_end_at },
      facts: noFacts,
      jkt: data.jkt,
      refresh: { generation: 0, hash: data.refresh_hash, previousHash: undefined, rotatedAt: time },
      idempotencyHash: data.idempotency_hash,
      presented:
        data.presented === undefined
          ? undefined
          : { gateway: data.presented.gateway, tokenHash: data.presented.token_hash },
      suspensions: new Set(),
      leases: new Map(),
      leased: false,
    };
    this.#sessions.set(id, session);
    this.#byRefresh.set(data.refresh_hash, session);
    if (session.presented !== undefined) this.#byToken.set(session.presented.tokenHash, session);
    const key = jobKey(data.identity.issuer, data.identity.job.id);
    const siblings = this.#byJob.get(key);
    if (siblings === undefined) this.#byJob.set(key, new Set([session]));
    else siblings.add(session);
    this.#use(data.replay_key, { sessionId: id, usedAt: time, until: data.replay_until, from: data.from });
    this.#tell({ session });
  }

  #change(session: Session, record: AuditEvent, time: number): void {
    switch (record.kind) {
      case "session.renewed":
        session.view = { ...session.view, hardEndAt: record.data.hard_end_at };
        this.#use(record.data.replay_key, {
          sessionId: session.id,
          usedAt: time,
          until: record.data.replay_until,
          from: record.data.from,
        });
        this.#tell({ session });
        return;
      case "session.refreshed":
        // Older generations stay findable: one that comes back is a reuse, and must end its session.
        session.refresh = {
          generation: record.data.generation,
          hash: record.data.refresh_hash,
          previousHash: session.refresh.hash,
          rotatedAt: time,
        };
        this.#byRefresh.set(record.data.refresh_hash, session);
        return;
      case "session.suspended":
        this.suspend(session, record.data.reason, true);
        return;
      case "session.resumed":
        this.suspend(session, record.data.reason, false);
        return;
      case "session.ended":
        this.end(session, record.data.reason, time);
        return;
      case "lease.held":
        session.leased = true;
        if (session.view.state !== "ended" && !session.leases.has(record.data.lease)) {
          session.leases.set(record.data.lease, { lastBeatAt: this.#monotonic() });
        }
        return;
      case "lease.released":
        session.leases.delete(record.data.lease);
        return;
      default: // other records carry no session state
    }
  }

  #tell(change: TableChange): void {
    for (const listener of this.#watchers) listener(change);
  }

  #use(key: string, replay: Replay): void {
    if (!this.#replays.has(key)) this.#replays.set(key, replay);
  }

  /** Forgets what can no longer matter: sessions past their hard end and replay time, old tombstones and revocations. */
  prune(now: number): void {
    this.#forgetPast(this.#replays, now);
    this.#forgetPast(this.#tombstones, now);
    for (const [jti, until] of this.#revoked) if (until < now) this.#revoked.delete(jti);
    for (const session of this.#sessions.values()) {
      if (session.view.state === "ended" && session.view.hardEndAt + keepEndedMs < now) this.#forget(session);
    }
  }

  #forgetPast(rows: Map<string, { readonly until: number }>, now: number): void {
    for (const [key, { until }] of rows) {
      if (until >= now) continue;
      rows.delete(key);
      this.#forgotten = Math.max(this.#forgotten, until);
    }
  }

  #forget(session: Session): void {
    this.#sessions.delete(session.id);
    for (const [hash, owner] of this.#byRefresh) if (owner === session) this.#byRefresh.delete(hash);
    if (session.presented !== undefined) this.#byToken.delete(session.presented.tokenHash);
    const key = jobKey(session.identity.issuer, session.identity.job.id);
    const siblings = this.#byJob.get(key);
    siblings?.delete(session);
    if (siblings?.size === 0) this.#byJob.delete(key);
  }
}

/** An ended session stays known this long past its hard end, so that a late token hears why it is refused. */
const keepEndedMs = 20 * 60_000;

function tombstoneKey(issuer: string, projectId: string, jobId: string): string {
  return `${issuer}/${projectId}/${jobId}`;
}

function base(session: Session): Omit<SessionView, "state"> {
  const { id, identity, openedAt, hardEndAt } = session.view;
  return { id, identity, openedAt, hardEndAt };
}

function project(session: Session): SessionView {
  const [reason] = session.suspensions;
  const state: SessionState = reason === undefined ? "active" : "suspended";
  return { ...base(session), state, ...(reason === undefined ? {} : { suspendReason: reason }) };
}
