import type { Facts, FactValue } from "./fact.ts";
import type { Narrowing, SessionView } from "./session.ts";
import type { Operation } from "./target.ts";

/** Every reason a decision can have. Public codes: gateways, logs and `wayleave explain` print them. */
export const reasonCodes = {
  allowed: "a role allows it",
  no_credential: "the request carried no Wayleave token",
  credential_invalid: "the token is malformed, mis-signed or not for this gateway",
  credential_expired: "the access token's time is over; renew it",
  credential_revoked: "the access token was revoked",
  proof_required: "the target wants a token bound to a key, with its proof",
  proof_invalid: "the DPoP proof is missing, or not for this request and token",
  proof_replayed: "the DPoP proof was used before",
  bound_as_bearer: "a token bound to a key was sent as Bearer",
  session_ended: "the session is over",
  session_suspended: "the session is suspended until its lease resumes",
  session_unknown: "no such session here",
  outside_narrowing: "the token was narrowed to other targets or roles",
  target_unknown: "policy has no such target",
  host_mismatch: "the host is not one of the target's",
  ambiguous_path: "the path can be read in two ways",
  ambiguous_request: "the request can be read in two ways (duplicate or hop-by-hop headers)",
  subject_refused: "no job may name the subject: it is reserved, or NATS would not take it",
  stream_refused: "streams are off unless the operation says stream: true",
  no_role: "no role of this job allows the operation",
  condition_failed: "a role would allow it, but its condition is false",
  fact_missing: "a role would allow it, but a fact its condition needs is missing",
  template_unfilled: "a role would allow it, but a ${…} in it cannot be filled for this job",
  limit_exceeded: "a role would allow it, but its rate limit is used up",
  denied: "a deny rule forbids it",
  unidentified: "let through without an identity: the route says unidentified: pass",
  outage: "Wayleave could not decide",
} as const;
export type ReasonCode = keyof typeof reasonCodes;

/** Which request is decided. */
export interface AccessRequest {
  readonly session: SessionView;
  readonly narrowing: Narrowing;
  readonly target: string;
  readonly operation: Operation;
  readonly facts: Facts;
  /** The gateway that asks: what a limit of scope `gateway` is counted by. Absent where nobody asks in earnest. */
  readonly gateway?: string;
  /** The request was already allowed, and counted, at a gateway in front: limits are not asked again. */
  readonly counted?: boolean;
  /** ms since the epoch. */
  readonly now: number;
}

/** How much of a limit is used. Counting lives beside the decision; the decision only reads. */
export interface Counts {
  /** Uses of `key` within the last `windowMs`. */
  used(key: string, windowMs: number): number;
  /** ms until fewer than `max` are used; absent: the whole window at most. */
  freeInMs?(key: string, windowMs: number, max: number): number;
}

export const noCounts: Counts = { used: () => 0 };

/** A fact that the decision looked at. */
export interface FactUse {
  readonly name: string;
  readonly value: FactValue;
  readonly ageMs: number;
  /** Only the job's token says so. */
  readonly claimed?: true;
}

/** What the caller must count when it lets the request through. */
export interface LimitUse {
  readonly key: string;
  readonly windowMs: number;
  readonly max: number;
}

/** The role that came nearest to allowing a denied request, and the one thing that failed. */
export interface Closest {
  readonly role: string;
  readonly file: string;
  readonly line: number;
  /** How many of the role's parts (operation, each conjunct of `when`, limit) hold. */
  readonly met: number;
  readonly of: number;
  /** The failed part: the conjunct's source, `operation`, `limit`, or a template. */
  readonly failed: string;
  /** The value found, as text, when the caller may see it. */
  readonly found?: string;
}

/** What a gateway does with an answer: `would_deny` is let through and recorded, `pass` let through without identity. */
export type Outcome = "allow" | "deny" | "would_deny" | "pass";

/** What the other of two policies says of a request, where a candidate stands beside the active one and they differ. */
export interface Beside {
  /** Version of that other policy. */
  readonly policy: string;
  readonly outcome: Outcome;
  readonly reason: ReasonCode;
  readonly rule?: string;
}

/** The answer for one request. `effect` is what policy says; `mode: observe` lets it through all the same. */
export interface Decision {
  readonly effect: "allow" | "deny";
  readonly reason: ReasonCode;
  readonly mode: "enforce" | "observe";
  /** The role that allowed it, or the deny's id. */
  readonly rule?: string;
  readonly policyVersion: string;
  readonly facts: readonly FactUse[];
  /** True where the answer depends on nothing but session, target and operation: what a gateway may cache. */
  readonly unconditional: boolean;
  readonly limit?: LimitUse;
  /** For `limit_exceeded`: seconds until a retry can succeed. */
  readonly retryAfterSeconds?: number;
  /** For denials that a fact or condition caused: its name. */
  readonly missing?: string;
  readonly closest?: Closest;
  /** The candidate decided: the job's project tries it. */
  readonly canary?: true;
  /** Only where the other policy has another outcome; it changes nothing. */
  readonly beside?: Beside;
}

/** What becomes of a request by this decision. */
export function outcomeOf({ effect, mode }: Pick<Decision, "effect" | "mode">): Outcome {
  if (effect === "allow") return "allow";
  return mode === "observe" ? "would_deny" : "deny";
}
