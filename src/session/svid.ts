import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Facts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import { encodeBase32 } from "../core/ids.ts";
import { type EventData, type Recorder, recordJob } from "../core/record.ts";
import { namedIdProblem, roleSpiffeId } from "../core/spiffe-id.ts";
import { refuseEnded } from "./issue.ts";
import type { Session } from "./table.ts";

/** A role whose selector matches, and whether the job has it as a whole: see `policy/role-standing.ts`. */
export interface SvidRole {
  readonly role: { readonly id: string; readonly ttlSeconds?: number; readonly spiffeId?: string };
  readonly stands: boolean;
  /** Why not. */
  readonly reason?: "needs_request" | "condition_failed" | "fact_missing" | "denied";
  readonly detail?: string;
}

/** A SPIFFE ID the session may hold now, by one of its roles. */
export interface HeldIdentity {
  readonly spiffeId: string;
  readonly role: string;
  /** Longest life of an SVID, ms; a JWT-SVID's is five minutes at most. */
  readonly ttlMs: number;
}

/** A role that gives no SVID now, and why, as a sentence. */
export interface WithheldRole {
  readonly role: string;
  readonly because: string;
}

export interface X509Grant {
  readonly identity: HeldIdentity;
  /** DER, leaf first, without the root. */
  readonly certificates: readonly Uint8Array[];
  readonly expiresAt: number;
}

export interface JwtGrant {
  readonly identity: HeldIdentity;
  readonly token: string;
  readonly expiresAt: number;
}

export interface SvidDeps {
  readonly trustDomain: string;
  /** `spiffe.prefixes`: what a role may name. */
  readonly prefixes: readonly string[];
  readonly x509TtlMs: number;
  readonly clock: Pick<Clock, "now">;
  readonly recorder: Pick<Recorder, "append" | "note">;
  random(bytes: number): Uint8Array;
  roles(identity: JobIdentity, facts: Facts, now: number): readonly SvidRole[];
  /** Throws `csr_invalid` and `key_unavailable`. */
  signX509(request: {
    readonly name: { readonly spiffeId: string };
    readonly from: { readonly csr: Uint8Array };
    readonly until: number;
  }): Promise<{
    readonly certificates: readonly Uint8Array[];
    readonly serial: string;
    readonly signer: string;
    readonly expiresAt: number;
  }>;
  signJwt(input: {
    readonly spiffeId: string;
    readonly audience: readonly string[];
    readonly sessionId: string;
    readonly jti: string;
    readonly now: number;
    readonly expiresAt: number;
  }): Promise<{ readonly token: string; readonly kid: string }>;
  /** True for an audience at which something else than a JWT-SVID is taken. */
  reservedAudience(audience: string): boolean;
}

/** The SVIDs of sessions. Nothing is handed out before its record is durable, nor once the session or the role is gone. */
export interface SessionSvids {
  identities(session: Session): { readonly held: readonly HeldIdentity[]; readonly withheld: readonly WithheldRole[] };
  /** `role` may be left out where the session has one identity only. */
  x509(session: Session, asked: { readonly role?: string; readonly csr: Uint8Array }): Promise<X509Grant>;
  /** `spiffeId` may be left out where the session has one identity only. */
  jwt(session: Session, asked: { readonly spiffeId?: string; readonly audience: readonly string[] }): Promise<JwtGrant>;
}

const jwtTtlMs = 5 * 60_000;
/** Of one session: the thread that makes certificates is everybody's. */
const maxUnderWay = 8;
const maxAudiences = 10;

/**
 * Throws `session_ended`, `session_suspended`, `spiffe_id_refused` for an identity the session does not have now,
 * `csr_invalid`, `audience_refused` and `key_unavailable`. Each refusal is a `svid.refused` record.
 */
export function createSessionSvids(deps: SvidDeps): SessionSvids {
  const underWay = new WeakMap<Session, number>();
  const guarded = async <T>(session: Session, work: () => Promise<T>): Promise<T> => {
    const others = underWay.get(session) ?? 0;
    if (others >= maxUnderWay)
      throw new WayleaveError("key_unavailable", `This session has ${others} SVIDs under way; wait for one of them.`);
    underWay.set(session, others + 1);
    try {
      return await work();
    } catch (error) {
      if (error instanceof WayleaveError && error.wire.http < 500) note(deps, session, error);
      throw error;
    } finally {
      underWay.set(session, (underWay.get(session) ?? 1) - 1);
    }
  };
  return {
    identities(session) {
      refuseInactive(session, deps.clock.now());
      return sort(deps, session);
    },
    x509: (session, asked) => guarded(session, () => mintX509(deps, session, asked)),
    jwt: (session, asked) => guarded(session, () => mintJwt(deps, session, asked)),
  };
}

async function mintX509(deps: SvidDeps, session: Session, { role, csr }: Parameters<SessionSvids["x509"]>[1]) {
  const now = deps.clock.now();
  refuseInactive(session, now);
  const identity = pickRole(sort(deps, session), role);
  const { spiffeId } = identity;
  const until = Math.min(now + identity.ttlMs, session.view.hardEndAt);
  const { certificates, serial, signer, expiresAt } = await deps.signX509({ name: { spiffeId }, from: { csr }, until });
  const data = { serial, role: identity.role, signer, expires_at: expiresAt };
  await record(deps, session, { type: "x509", spiffe_id: spiffeId, ...data });
  return { identity, certificates, expiresAt };
}

async function mintJwt(deps: SvidDeps, session: Session, { spiffeId, audience }: Parameters<SessionSvids["jwt"]>[1]) {
  const now = deps.clock.now();
  refuseInactive(session, now);
  refuseAudience(deps, audience);
  const all = sort(deps, session);
  const identity = spiffeId === undefined ? pickRole(all, undefined) : pick(all, (one) => one.spiffeId === spiffeId);
  // Whole seconds, rounded down, as `exp` is.
  const until = Math.min(now + Math.min(jwtTtlMs, identity.ttlMs), session.view.hardEndAt);
  const expiresAt = Math.floor(until / 1000) * 1000;
  if (expiresAt <= now) throw atHardEnd(session);
  const jti = encodeBase32(deps.random(15));
  const who = { spiffeId: identity.spiffeId, audience, sessionId: session.id };
  const { token, kid } = await deps.signJwt({ ...who, jti, now, expiresAt });
  const data = { jti, audience, role: identity.role, signer: kid, expires_at: expiresAt };
  await record(deps, session, { type: "jwt", spiffe_id: identity.spiffeId, ...data });
  return { identity, token, expiresAt };
}

async function record(deps: SvidDeps, session: Session, data: EventData["svid.minted"]): Promise<void> {
  await deps.recorder.append([{ kind: "svid.minted", session: session.id, job: recordJob(session.identity), data }]);
  // It may have ended meanwhile, or lost the role: then what was made is dropped, and the record says too much.
  refuseInactive(session, deps.clock.now());
  pick(sort(deps, session), (one) => one.spiffeId === data.spiffe_id && one.role === data.role);
}

interface Identities {
  readonly held: readonly HeldIdentity[];
  readonly withheld: readonly WithheldRole[];
}

function sort(deps: SvidDeps, session: Session): Identities {
  const held: HeldIdentity[] = [];
  const withheld: WithheldRole[] = [];
  const { trustDomain, prefixes, x509TtlMs } = deps;
  for (const { role, ...standing } of deps.roles(session.identity, session.facts, deps.clock.now())) {
    const problem = role.spiffeId === undefined ? undefined : namedIdProblem(role.spiffeId, { trustDomain, prefixes });
    if (!standing.stands) withheld.push({ role: role.id, because: whyWithheld(standing) });
    else if (problem !== undefined)
      withheld.push({ role: role.id, because: `its spiffe_id ${role.spiffeId} ${problem}; correct the policy` });
    else {
      const spiffeId = role.spiffeId ?? roleSpiffeId(trustDomain, role.id);
      held.push({ spiffeId, role: role.id, ttlMs: Math.min(x509TtlMs, (role.ttlSeconds ?? Infinity) * 1000) });
    }
  }
  return { held: held.sort((a, b) => (a.role < b.role ? -1 : 1)), withheld };
}

function whyWithheld({ reason, detail = "" }: Omit<SvidRole, "role">): string {
  switch (reason) {
    case "needs_request":
      return `its condition looks at the request, which a certificate cannot (${detail}); use access tokens for it`;
    case "fact_missing":
      return `its condition needs ${detail}, which is missing`;
    case "condition_failed":
      return `its condition is false: ${detail}`;
    default:
      return `deny ${detail} bears on what it allows, and a certificate cannot make exceptions; use access tokens for it`;
  }
}

function pickRole(identities: Identities, role: string | undefined): HeldIdentity {
  if (role !== undefined) return pick(identities, (one) => one.role === role, role);
  const [only, ...more] = identities.held;
  if (only !== undefined && more.length === 0) return only;
  if (only === undefined) throw nothingHeld(identities.withheld);
  const roles = identities.held.map((one) => one.role).join(", ");
  throw new WayleaveError("spiffe_id_refused", `This job has several identities; name one, by its role: ${roles}.`);
}

function pick({ held, withheld }: Identities, is: (one: HeldIdentity) => boolean, role?: string): HeldIdentity {
  const found = held.find(is);
  if (found !== undefined) return found;
  const why = withheld.find((one) => one.role === role);
  if (why !== undefined)
    throw new WayleaveError("spiffe_id_refused", `Role ${why.role} gives no SVID: ${why.because}.`);
  if (held.length === 0) throw nothingHeld(withheld);
  const has = held.map((one) => `${one.spiffeId} (role ${one.role})`).join(", ");
  throw new WayleaveError("spiffe_id_refused", `This job does not have that identity; it has ${has}.`);
}

function nothingHeld([first]: readonly WithheldRole[]): WayleaveError {
  const why =
    first === undefined ? "no role of the policy matches it" : `role ${first.role} gives none: ${first.because}`;
  return new WayleaveError("spiffe_id_refused", `This job has no SPIFFE ID: ${why}.`);
}

/** What an ended or suspended session must not get. */
function refuseInactive(session: Session, now: number): void {
  refuseEnded(session);
  // Written so that an end that is no time is an end.
  if (!(session.view.hardEndAt > now)) throw atHardEnd(session);
  if (session.view.state !== "active") {
    throw new WayleaveError(
      "session_suspended",
      `Session ${session.id} is suspended (${session.view.suspendReason}); it mints nothing until that is over.`,
    );
  }
}

function atHardEnd(session: Session): WayleaveError {
  return new WayleaveError("session_ended", `Session ${session.id} is at its hard end; there is nothing left to mint.`);
}

const audienceForm = /^[\x21-\x7e]{1,256}$/;

function refuseAudience(deps: SvidDeps, audience: readonly string[]): void {
  if (audience.length === 0 || audience.length > maxAudiences)
    throw new WayleaveError("audience_refused", `A JWT-SVID is for 1 to ${maxAudiences} audiences.`);
  const bad = audience.find((one) => !audienceForm.test(one));
  if (bad !== undefined)
    throw new WayleaveError("audience_refused", "An audience is 1 to 256 printable characters without spaces.");
  const reserved = audience.find((one) => deps.reservedAudience(one));
  if (reserved !== undefined) {
    throw new WayleaveError(
      "audience_refused",
      `A JWT-SVID is never for ${reserved}, where Wayleave takes other tokens; name the service that will verify it.`,
    );
  }
}

/** The refusal stands whether or not it can be recorded. */
function note(deps: SvidDeps, session: Session, { code, message: detail }: WayleaveError): void {
  try {
    const job = recordJob(session.identity);
    deps.recorder.note({ kind: "svid.refused", session: session.id, job, data: { code, detail } });
  } catch {
    // a journal that takes nothing is told of by everything that must be recorded
  }
}
