import type { Decision } from "../core/decision.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { Actor, OperatorRole } from "../core/person.ts";
import type { AuditRecord } from "../core/record.ts";
import type { EndReason, SessionState, SuspendReason } from "../core/session.ts";

/**
 * What the CLI, scripts and the dashboard exchange with `serve`. Types only; wire names are snake_case.
 *
 * Public listener
 *   POST /oauth2/token        form; RFC 8693 exchange or `refresh_token`; optional `DPoP` and `Idempotency-Key` headers → TokenResponse
 *   POST /oauth2/revoke       form `token`; RFC 7009; always 200 for unknown tokens
 *   GET  /oauth2/jwks         access-token keys            GET /assertion/jwks   assertion keys
 *   GET  /svid/jwks           JWT-SVID keys
 *   GET  /.well-known/oauth-authorization-server           RFC 8414
 *   POST /v1/session/lease    {lease: string} → LeaseResponse; a heartbeat: DPoP proof by the session's key. `lease` is random,
 *                             one per command, `[A-Za-z0-9_-]{8,64}`, so that parallel commands are told apart
 *   POST /v1/session/release  {lease: string} → 204; the command exited, its lease is released, the session lives on
 *   POST /v1/session/end      {reason?: string} → 204
 *   GET  /v1/session          → SessionSummary of the caller
 *   GET  /v1/session/decisions?after=<record id>&wait=<seconds ≤ 25> → {decisions: DecisionSummary[]}; denials of the caller's own session
 *   GET  /v1/session/decisions/<record id> → ExplainResponse, own session only
 *   POST /hooks/<issuer>/<hook name>   webhooks; 2xx unless unauthenticated or malformed
 *   ANY  /authz/nginx         the NGINX dialect
 *   GET  /client.sh           the sh + curl client      GET /client.sh.sha256
 *   GET  /healthz  /readyz
 * The session endpoints take `Authorization: Bearer <refresh token>`, and a DPoP proof (RFC 9449, `ath` of the refresh
 * token) when the session is bound to a key. `/v1/session/lease`, `/release` and `/end` of a bound session accept the proof alone
 * with the header `Wayleave-Session: <session id>`.
 *
 * Operator listener: a Unix socket (mode 0600) in the data directory, same HTTP; no token, the file is the authority.
 *   GET  /v1/status                → StatusResponse
 *   GET  /v1/sessions?state=&project=&limit=    → {sessions: SessionSummary[]}
 *   GET  /v1/sessions/<id or job id>            → SessionSummary
 *   POST /v1/sessions/<id>/end     {because?: string} → SessionSummary
 *   GET  /v1/records?session=&job=&project=&target=&kind=&effect=&gateway=&since=&until=&before=<id>&limit=  → {records: AuditRecord[]}, newest first
 *                                  also &kinds=<kind,kind>, &order=oldest_first&after=<id>, &brief=true (long lists left out), &subject=<NATS pattern>;
 *                                  fewer than the limit where records are long
 *   GET  /v1/records/history?same filters  newline-delimited JSON, oldest first, all there are now
 *   GET  /v1/records/stream?same filters   newline-delimited JSON, from now on (audit tail)
 *   GET  /v1/records/<id>          → AuditRecord
 *   GET  /v1/records/<id>/explain  → ExplainResponse
 *   POST /v1/can                   CanRequest → CanResponse  (against the live policy and session)
 *   GET  /v1/keys                  → KeysResponse
 *   POST /v1/keys/<class>/prepare | activate     → KeyResponse or problem key_not_ready
 *   POST /v1/keys/<class>/<kid>/retire           → KeyResponse or problem key_not_ready
 *   POST /v1/keys/<class>/<kid>/revoke           → KeyRevocationResponse
 *   POST /v1/policy/reload         → {version: string} or problem policy_invalid with `diagnostics`
 *   GET  /v1/me                    → MeResponse
 *   GET  /v1/sign-ins              → {sign_ins: SignInSummary[]}
 *   POST /v1/sign-ins/<id>/end     → 204
 *
 * The same on the public listener below `/operator`, where `people:` is configured, for whom the role in
 * `operator-access.ts` covers: `Authorization: DPoP <token>` and a DPoP proof by the sign-in's key. Beside it
 *   GET  /operator/v1/sign-in      → SignInOptions, for everybody
 *   POST /operator/v1/sign-in      {id_token} or {bootstrap_token}, DPoP proof with its `ath` → SignInResponse
 *   POST /operator/v1/sign-out     → 204
 * Errors: `application/problem+json` (ProblemResponse); token endpoint: RFC 6749 §5.2 (OAuthErrorResponse).
 */
export interface TokenResponse {
  readonly access_token: string;
  readonly issued_token_type: "urn:ietf:params:oauth:token-type:access_token";
  readonly token_type: "Bearer";
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

export interface StatusResponse {
  readonly version: string;
  readonly policy: {
    readonly version: string;
    readonly loaded_at: string;
    readonly observed: readonly string[];
    readonly shared: readonly string[];
    readonly problem?: string;
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
