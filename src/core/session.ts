import type { JobIdentity } from "./identity.ts";

export type SessionState = "active" | "suspended" | "ended";

/** Why a session ended. Final and public: it is what the next refusal says. */
export const endReasons = [
  "client_end", // `wayleave end`, `exec --end`
  "token_revoked", // RFC 7009 on the refresh token
  "refresh_reused", // a rotated refresh token came back
  "lease_lost", // five silent minutes
  "job_finished", // webhook or poller: success, failed, canceled, skipped
  "hard_end", // max_session or the subject token's exp
  "policy_withdrawn", // policy granted it nothing for ten minutes
  "operator", // a person
] as const;
export type EndReason = (typeof endReasons)[number];

/** Why a session is suspended; it goes on when the cause goes. */
export type SuspendReason = "lease_missed" | "policy_withdrawn";

/** What the decision needs to know of one session. Times are ms since the epoch. */
export interface SessionView {
  readonly id: string;
  readonly identity: JobIdentity;
  readonly state: SessionState;
  readonly openedAt: number;
  readonly hardEndAt: number;
  readonly suspendReason?: SuspendReason;
  readonly endReason?: EndReason;
  readonly endedAt?: number;
}

/** How an access token narrows its session. Absent means not narrowed. */
export interface Narrowing {
  /** Target names. */
  readonly targets?: readonly string[];
  /** Role ids. */
  readonly roles?: readonly string[];
}
