import type { FactValue } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";

/** A subject token that was verified, as `identity/` hands it over. Times are ms since the epoch. */
export interface VerifiedSubject {
  readonly identity: JobIdentity;
  readonly kid: string;
  /** Hex SHA-256 that stands for this one token. */
  readonly replayKey: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** What sessions need of one configured issuer. */
export interface IssuerAccess {
  /** True where a job can ask for a fresh token, so that the session may outlive one. */
  readonly renewable: boolean;
  /** Longest life of a token of this issuer, ms: tombstones outlive it. */
  readonly maxTokenLifeMs: number;
  /** Facts that the token itself states. */
  claimFacts?(identity: JobIdentity): Readonly<Record<string, FactValue>>;
  /** Present with an API credential. Rejects `ci_api_unreachable`. */
  readonly api?: {
    jobStatus(identity: JobIdentity): Promise<{
      readonly status: string;
      readonly running: boolean;
      readonly over: boolean;
      readonly name?: string;
      readonly fork?: "yes" | "no";
    }>;
    facts(identity: JobIdentity, names: readonly string[]): Promise<Readonly<Record<string, FactValue>>>;
  };
}

/** What sessions need of the policy in force. */
export interface PolicyAccess {
  /** Another text whenever what is in force for any job may have changed. */
  readonly inForce: string;
  /** Version of the policy that decides for this job. */
  versionFor(identity: JobIdentity): string;
  readonly pins: Readonly<Record<string, string>>;
  rolesFor(
    identity: JobIdentity,
  ): readonly { readonly id: string; readonly targets: readonly string[]; readonly ttlSeconds?: number }[];
  /** The denies of any of these targets whose selector matches. */
  deniesFor(identity: JobIdentity, targets: readonly string[]): readonly string[];
  factsFor(identity: JobIdentity): readonly string[];
}

/** Signs an access token; the session decides what goes into it. */
export type MintAccessToken = (input: {
  readonly sessionId: string;
  readonly identity: JobIdentity;
  readonly targets: readonly string[];
  readonly roles: readonly string[];
  readonly rolesNarrowed: boolean;
  readonly denies: readonly string[];
  readonly policy: string;
  /** Thumbprint of the key that the token is bound to; absent: a bearer token. */
  readonly jkt?: string;
  readonly jti: string;
  readonly now: number;
  readonly expiresAt: number;
}) => Promise<{ readonly token: string; readonly kid: string }>;

/** How long things last, ms. One place, so that a test can scale them. */
export interface SessionTimings {
  readonly maxSessionMs: number;
  readonly tokenTtlMs: number;
  /** Renewable issuers: a fresh subject token is due within this. */
  readonly renewWithinMs: number;
  /** A heartbeat is due this often. */
  readonly beatMs: number;
  /** Silence after which a leased session is suspended: three missed beats. */
  readonly suspendAfterMs: number;
  /** Silence after which it ends. */
  readonly endAfterMs: number;
  /** A session that policy grants nothing ends after this. */
  readonly withdrawnEndMs: number;
  /** Facts and job status are read again this often, and count as missing after three times that. */
  readonly pollMs: number;
}

export const defaultTimings: SessionTimings = {
  maxSessionMs: 6 * 3_600_000,
  tokenTtlMs: 5 * 60_000,
  renewWithinMs: 35 * 60_000, // asked for every 30 min
  beatMs: 10_000,
  suspendAfterMs: 29_000, // the third beat is due at 30 s; the sweep runs every half second
  endAfterMs: 5 * 60_000,
  withdrawnEndMs: 10 * 60_000,
  pollMs: 30_000,
};
