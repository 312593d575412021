/**
 * What the CLI, scripts and the dashboard exchange with `serve`. Types only; wire names are snake_case.
 * `schemas/openapi.json` has every route, and is made from these types and from the schemas that bodies are read by.
 * Errors: `application/problem+json` (ProblemResponse); token endpoint: RFC 6749 §5.2 (OAuthErrorResponse).
 */

import type { Decision } from "../core/decision.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { Actor, OperatorRole } from "../core/person.ts";
import type { AuditRecord } from "../core/record.ts";
import type { EndReason, SessionState, SuspendReason } from "../core/session.ts";

export interface TokenResponse {
  readonly access_token: string;
  readonly issued_token_type: "urn:ietf:params:oauth:token-type:access_token";
  /** `DPoP`: each request with it needs a proof by the session's key (RFC 9449 §7). */
  readonly token_type: "Bearer" | "DPoP";
  /** Seconds. */
  readonly expires_in: number;
  /** Role ids, space separated. */
  readonly scope: string;
  readonly refresh_token: string;
  readonly session_id: string;
  /** ISO 8601; nothing of this session works after it. */
  readonly session_expires_at: string;
  /** Audit record of the exchange. */
  readonly record: string;
  /** Target names the access token is good for, with the hosts of each http target for this job. */
  readonly targets: readonly ListedTarget[];
  /** Also the job's, and asked for, but taking only tokens bound to a key: a token for these alone is. Absent: none. */
  readonly proof_targets?: readonly ListedTarget[];
}

export interface ListedTarget {
  readonly name: string;
  readonly kind: string;
  readonly hosts: readonly string[];
  /** Of a mesh service: the SPIFFE ID its certificate must carry. */
  readonly spiffe_id?: string;
}

export interface OAuthErrorResponse {
  readonly error: string;
  readonly error_description: string;
  /** The stable Wayleave code. */
  readonly code: string;
  /** Audit record of the refusal, where there is one. */
  readonly record?: string;
}

/** RFC 9457. */
export interface ProblemResponse {
  readonly type: "about:blank";
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly request_id?: string;
  readonly diagnostics?: readonly unknown[];
}

export interface LeaseResponse {
  readonly session_id: string;
  readonly state: SessionState;
  /** Seconds until the next beat is due. */
  readonly interval: number;
}

export interface SessionSummary {
  readonly id: string;
  readonly state: SessionState;
  readonly identity: JobIdentity;
  readonly opened_at: string;
  readonly expires_at: string;
  readonly suspend_reason?: SuspendReason;
  readonly end_reason?: EndReason;
  readonly ended_at?: string;
  readonly lease: "none" | "held" | "released";
  readonly roles: readonly string[];
}

export interface SessionsResponse {
  /** Youngest first. */
  readonly sessions: readonly SessionSummary[];
}

export interface RecordsResponse {
  readonly records: readonly AuditRecord[];
}

export interface PolicyResponse {
  /** Of the policy that is in force. */
  readonly version: string;
}

export interface DecisionsResponse {
  readonly decisions: readonly DecisionSummary[];
}

/** A denial (or would_deny) of one's own session, enough to print the refusal of the sketches. */
export interface DecisionSummary {
  readonly record: string;
  readonly time: string;
  readonly target: string;
  readonly operation: string;
  readonly outcome: "deny" | "would_deny";
  readonly reason: string;
}

/** Everything a refusal says. `lines` are label and text, ready to align. */
export interface ExplainResponse {
  readonly record: string;
  readonly title: string;
  readonly lines: readonly { readonly label: string; readonly text: string }[];
  readonly source: AuditRecord;
}

export interface CanRequest {
  readonly session: string;
  readonly target: string;
  readonly verb: string;
  readonly object: string;
}

export interface CanResponse {
  readonly decision: Decision;
}

/** What is known of the ids of project paths, in the order asked. */
export interface ProjectIdsResponse {
  readonly projects: readonly {
    /** `<issuer>/<path>`, as asked. */
    readonly project: string;
    /** Of the CI's API, or where there is no credential of its first job here. */
    readonly id?: string;
    readonly from?: "api" | "first job";
    /** Why no id is known, or why the one there is must not be pinned unseen. */
    readonly problem?: string;
  }[];
}

export interface StatusResponse {
  readonly version: string;
  readonly policy: {
    readonly version: string;
    readonly loaded_at: string;
    readonly observed: readonly string[];
    readonly shared: readonly string[];
    /** What goes on while Wayleave is away, seconds at most. */
    readonly kept?: readonly { readonly target: string; readonly seconds: number }[];
    readonly problem?: string;
    /** Where it is put together from several: what is in force of each, and its trouble. */
    readonly sources?: readonly { readonly name: string; readonly version: string; readonly problem?: string }[];
    /** What the files say, where an operator set that aside. */
    readonly disk?: string;
    /** What is tried beside it. */
    readonly candidate?: string;
    /** The candidate decides for some projects. */
    readonly canary?: true;
  };
  readonly issuers: readonly {
    readonly name: string;
    readonly url: string;
    readonly keys: number;
    readonly fetched_at?: string;
    readonly problem?: string;
  }[];
  readonly sessions: { readonly active: number; readonly suspended: number };
  readonly last_job?: string;
}

/** A signing key. Which times there are depends on how far it has come. */
export interface KeySummary {
  readonly class: "access-token" | "assertion" | "jwt-svid" | "nats";
  readonly kid: string;
  readonly state: "staged" | "prepared" | "active" | "retiring" | "retired" | "revoked";
  readonly created_at: string;
  readonly usable_at?: string;
  readonly signs_since?: string;
  readonly last_token_expires_at?: string;
}

/** A gateway that checks signatures of a class itself, and what that means for a rotation. */
export interface KeyHolder {
  readonly gateway: string;
  readonly kind: string;
  readonly class: KeySummary["class"];
  readonly note: string;
}

export interface KeysResponse {
  /** By class, oldest first; retired and revoked ones too. */
  readonly keys: readonly KeySummary[];
  readonly gateways: readonly KeyHolder[];
}

export interface KeyResponse {
  readonly key: KeySummary;
  /** All that are published now, of its class. */
  readonly keys: readonly KeySummary[];
  readonly gateways: readonly KeyHolder[];
}

export interface KeyRevocationResponse extends KeyResponse {
  /** From here on no key set that somebody keeps has the revoked key any more. */
  readonly forgotten_at: string;
  /** Absent where no key could be made yet: nothing is minted until the broker says that one is. */
  readonly signing?: KeySummary;
  /** From here on every key set that somebody keeps has the key that signs. */
  readonly signing_known_at?: string;
}

/** What `POST /v1/gateways/<name>/nats/admins` answers: `creds` is a secret. */
export interface NatsAdminResponse {
  readonly creds: string;
  readonly key: string;
  /** Of the servers themselves. */
  readonly url: string;
  readonly expires_at: string;
}

/** What `wayleave login` needs to ask the directory. */
export interface SignInOptions {
  readonly issuer: string;
  readonly client_id: string;
  /** Space separated. */
  readonly scope: string;
}

/** Somebody who is signed in. */
export interface SignInSummary {
  readonly sign_in: string;
  readonly who: Actor;
  readonly roles: readonly OperatorRole[];
  readonly expires_at: string;
  readonly from?: string;
}

export interface SignInsResponse {
  readonly sign_ins: readonly SignInSummary[];
}

/** `token` is a secret, and worth nothing without the key that signed the proof. */
export interface SignInResponse extends SignInSummary {
  readonly token: string;
}

export interface MeResponse extends Partial<SignInSummary> {
  readonly who: Actor;
  readonly roles: readonly OperatorRole[];
  /** Actions, as commands say them. */
  readonly may: readonly string[];
}

/** A policy as its files have it; the lock file beside them. */
export interface PolicyTextsRequest {
  readonly files: readonly { readonly name: string; readonly text: string }[];
  readonly lock?: { readonly name: string; readonly text: string };
}

interface PolicyDescription {
  readonly version: string;
  readonly roles: number;
  readonly targets: number;
  readonly files: readonly string[];
  readonly since: string;
  readonly by?: string;
}

/** What decides, what is tried beside it, and where the two differ. */
export interface RolloutResponse {
  readonly active: PolicyDescription & {
    readonly how: "loaded" | "promoted" | "rolled_back";
    readonly replaces?: string;
  };
  /** What the files say; `set_aside` where an operator's word is in force instead. */
  readonly disk: { readonly version: string; readonly set_aside: boolean; readonly problem?: string };
  readonly candidate?: PolicyDescription & {
    /** How often it could not decide; that never changed an answer, unless it was a canary's: then it was a refusal. */
    readonly faults: number;
  };
  readonly canary?: {
    readonly projects: readonly string[];
    /** Percent of all other projects. */
    readonly share: number;
    /** Living sessions that the candidate decides for. */
    readonly sessions: number;
  };
  /** Of this candidate beside this active policy; most first. */
  readonly disagreements: readonly {
    readonly effect: "newly_denied" | "newly_allowed" | "passes_differently";
    readonly target: string;
    /** Of the policy that allows. */
    readonly role: string;
    /** Why the other one refuses. */
    readonly reason: string;
    readonly count: number;
    readonly first: string;
    readonly last: string;
  }[];
}

/** Policies that can be gone back to. */
export interface PolicyListResponse {
  readonly policies: readonly {
    readonly version: string;
    readonly kept_at: string;
    readonly active: boolean;
    readonly candidate: boolean;
    readonly on_disk: boolean;
    /** When it last came into force, where that was a change. */
    readonly came?: { readonly how: string; readonly at: string; readonly by?: string };
    /** When another one took its place. */
    readonly left?: { readonly how: string; readonly at: string; readonly for: string };
  }[];
}
