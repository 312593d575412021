import { createHash, timingSafeEqual } from "node:crypto";
import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import { encodeBase32 } from "../core/ids.ts";
import { type AuditEvent, recordJob } from "../core/record.ts";
import type { Narrowing, SessionView } from "../core/session.ts";
import type { IssuanceCaps } from "./issuance-caps.ts";
import type { MintAccessToken, PolicyAccess, SessionTimings } from "./ports.ts";
import type { Session } from "./table.ts";

/** What an exchange or refresh hands to the job. Times are ms since the epoch. */
export interface Issued {
  readonly accessToken: string;
  readonly expiresAt: number;
  readonly targets: readonly string[];
  readonly roles: readonly string[];
  readonly refreshToken: string;
  readonly session: SessionView;
  /** Record of the exchange or refresh. */
  readonly record: string;
  /** The access token is bound to the session's key, and is good only with a proof made by it. */
  readonly bound: boolean;
  /** Asked for as well, but wanting a bound token: one for these alone is. */
  readonly proofTargets: readonly string[];
}

export interface Issuing {
  readonly timings: SessionTimings;
  readonly random: (bytes: number) => Uint8Array;
  readonly mint: MintAccessToken;
  /** Keyed fingerprint of a token, for records. */
  fingerprint(token: string): string;
  readonly caps: IssuanceCaps;
  policy(): PolicyAccess;
  /** Longest life of an access token for these targets, ms: gateways that hear of an end late want them short. */
  longestLifeMs(targets: readonly string[]): number;
  /** Whether a target takes only tokens that are bound to a key, by the policy that decides for this job. */
  needsProof(target: string, identity: JobIdentity): boolean;
  /** The refresh token of a session and generation: derived, so that a retry can be given the same one again. */
  refreshToken(sessionId: string, generation: number): string;
}

/** Whom a credential is for. */
export interface Holder {
  readonly sessionId: string;
  readonly identity: JobIdentity;
  readonly hardEndAt: number;
  /** Thumbprint of the key the session is bound to. */
  readonly jkt: string | undefined;
}

/** What is minted, before the session it belongs to is asked once more. */
export type Minted = Pick<Issued, "accessToken" | "expiresAt" | "targets" | "roles" | "bound" | "proofTargets">;

const maxTargets = 50;

/**
 * A signed access token and its record, which the caller must make durable before handing the token out. Lives until
 * the earliest of the configured time, the shortest `ttl` of its roles and the session's hard end. A token is bound to the
 * session's key where all that it is for want that, and else bearer, for those alone that do not.
 *
 * Throws `invalid_target` / `invalid_scope` where the narrowing asks for what the session does not have, `no_role` where
 * policy grants it nothing any more, `issuance_capped` where its project has enough, and `proof_required` where a session without a key asks for a bound token.
 */
export async function planCredential(
  deps: Issuing,
  { sessionId, identity, hardEndAt, jkt }: Holder,
  narrowing: Narrowing,
  now: number,
): Promise<{ issued: Minted; event: AuditEvent }> {
  const policy = deps.policy();
  const matched = policy.rolesFor(identity);
  const roles = narrowRoles(matched, narrowing.roles);
  const { targets, proofTargets, boundTo } = splitByProof(
    (name) => deps.needsProof(name, identity),
    narrowTargets(roles, narrowing.targets),
    jkt,
  );
  const longest = Math.min(deps.timings.tokenTtlMs, deps.longestLifeMs(targets));
  const ttlMs = Math.min(longest, ...roles.map((role) => (role.ttlSeconds ?? Infinity) * 1000));
  // Whole seconds, rounded down, as `exp` is.
  const expiresAt = Math.floor(Math.min(now + ttlMs, hardEndAt) / 1000) * 1000;
  if (expiresAt <= now) {
    throw new WayleaveError("session_ended", `Session ${sessionId} is at its hard end; there is nothing left to mint.`);
  }
  deps.caps.token(identity);
  const jti = encodeBase32(deps.random(15));
  const roleIds = roles.map((role) => role.id);
  const { token, kid } = await deps.mint({
    sessionId,
    identity,
    targets,
    roles: roleIds,
    rolesNarrowed: narrowing.roles !== undefined,
    denies: policy.deniesFor(identity, targets),
    policy: policy.versionFor(identity),
    jti,
    ...boundTo,
    now,
    expiresAt,
  });
  const event: AuditEvent = {
    kind: "credential.minted",
    session: sessionId,
    job: recordJob(identity),
    data: {
      class: "access_token",
      jti,
      kid,
      audience: targets,
      roles: roleIds,
      narrowing,
      ...boundTo,
      expires_at: expiresAt,
      token: deps.fingerprint(token),
    },
  };
  const bound = boundTo.jkt !== undefined;
  return { issued: { accessToken: token, expiresAt, targets, roles: roleIds, bound, proofTargets }, event };
}

/** One token is never for both kinds of targets: bearer wherever it may be, so that nothing that needs no key asks for one. */
function splitByProof(
  needsProof: (target: string) => boolean,
  asked: readonly string[],
  jkt: string | undefined,
): {
  readonly targets: readonly string[];
  readonly proofTargets: readonly string[];
  readonly boundTo: { jkt?: string };
} {
  const proofTargets = asked.filter(needsProof);
  const bearer = asked.filter((name) => !proofTargets.includes(name));
  if (bearer.length > 0) return { targets: bearer, proofTargets, boundTo: {} };
  if (jkt !== undefined) return { targets: proofTargets, proofTargets: [], boundTo: { jkt } };
  throw new WayleaveError(
    "proof_required",
    `Target ${proofTargets[0]} takes only tokens that are bound to a key, and no DPoP proof came with the exchange; use \`wayleave exec\`, which holds one.`,
  );
}

type Role = ReturnType<PolicyAccess["rolesFor"]>[number];

function narrowRoles(matched: readonly Role[], asked: readonly string[] | undefined): readonly Role[] {
  if (matched.length === 0) throw new WayleaveError("no_role", "Policy grants this job nothing any more.");
  if (asked === undefined) return matched;
  const unknown = asked.find((id) => !matched.some((role) => role.id === id));
  if (unknown !== undefined || asked.length === 0) {
    const has = matched.map((role) => role.id).join(", ");
    throw new WayleaveError("invalid_scope", `Role ${JSON.stringify(unknown ?? "")} is not one of this job's: ${has}.`);
  }
  return matched.filter((role) => asked.includes(role.id));
}

function narrowTargets(roles: readonly Role[], asked: readonly string[] | undefined): readonly string[] {
  const reachable = [...new Set(roles.flatMap((role) => role.targets))].sort();
  const unknown = asked?.find((name) => !reachable.includes(name));
  if (unknown !== undefined) {
    throw new WayleaveError(
      "invalid_target",
      `No role of this job names target ${JSON.stringify(unknown)}; it may ask for: ${reachable.join(", ")}.`,
    );
  }
  const targets = asked === undefined ? reachable : reachable.filter((name) => asked.includes(name));
  if (targets.length === 0)
    throw new WayleaveError("invalid_target", `Ask for at least one target of: ${reachable.join(", ")}.`);
  if (targets.length > maxTargets) {
    throw new WayleaveError(
      "invalid_target",
      `This job may reach ${targets.length} targets, and a token names at most ${maxTargets}; ask for those it needs with \`audience\`.`,
    );
  }
  return targets;
}

/** The refresh token to hand out now: the same one for a key-bound session, the next generation for a bearer one. */
export function nextRefresh(
  deps: Issuing,
  session: Session,
): { readonly token: string; readonly events: readonly AuditEvent[] } {
  if (session.jkt !== undefined)
    return { token: deps.refreshToken(session.id, session.refresh.generation), events: [] };
  const generation = session.refresh.generation + 1;
  const token = deps.refreshToken(session.id, generation);
  const event: AuditEvent = {
    kind: "session.refreshed",
    session: session.id,
    job: recordJob(session.identity),
    data: { generation, refresh_hash: sha256(token) },
  };
  return { token, events: [event] };
}

/** Throws `session_ended` with the reason, for a session that ended while something was being made for it. */
export function refuseEnded(session: Session): void {
  if (session.view.state !== "ended") return;
  throw new WayleaveError(
    "session_ended",
    `Session ${session.id} ended (${session.view.endReason}); nothing more is minted for it.`,
  );
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

export function sameHash(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
