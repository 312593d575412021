import type { BreakglassRecordData } from "./breakglass-record.ts";
import type { Beside, Closest, FactUse, Outcome, ReasonCode } from "./decision.ts";
import type { EventRecordData } from "./event-record.ts";
import type { Fact } from "./fact.ts";
import type { JobIdentity } from "./identity.ts";
import type { NatsEventData } from "./nats-record.ts";
import type { OperatorRecordData } from "./operator-record.ts";
import type { PolicyRecordData } from "./policy-record.ts";
import type { RecordJob } from "./record-job.ts";
import type { EndReason, Narrowing, SuspendReason } from "./session.ts";
import type { StreamEventData } from "./stream-record.ts";

export type { RecordJob };

/** A W3C trace id (32 lower-case hex), where the request had one. */
export type TraceId = string;

/** The request a decision was about, as one readable line: `POST /v1/releases`, `pub build.status.7`, `assume`. */
export interface DecisionData {
  readonly gateway: string;
  readonly target: string;
  readonly operation: string;
  readonly host?: string;
  /** What policy says. */
  readonly effect: "allow" | "deny";
  /** What the gateway was told: `would_deny` in observe mode, `pass` on a shared route. */
  readonly outcome: Outcome;
  readonly reason: ReasonCode;
  readonly rule?: string;
  readonly policy: string;
  readonly facts?: readonly FactUse[];
  readonly closest?: Closest;
  /** For `fact_missing`: the fact. */
  readonly missing?: string;
  /** Role ids the token was narrowed to. */
  readonly narrowed?: readonly string[];
  /** It asked for a stream. */
  readonly stream?: true;
  /** A gateway in front had allowed and counted it. */
  readonly counted?: true;
  /** The candidate decided: `policy` is its version. */
  readonly canary?: true;
  /** What the other policy says, where it has another outcome. */
  readonly beside?: Beside;
  /** Keyed fingerprint of the presented token. */
  readonly token?: string;
  readonly detail?: string;
}

/** One line of a gateway's own log: the evidence, hop by hop, of what a request met. Only what the gateway knew. */
export interface GatewayRequestData {
  readonly gateway: string;
  readonly hop: "nginx" | "envoy" | "istio" | "linkerd";
  /** When the gateway saw the request, ms since the epoch. */
  readonly at: number;
  readonly method: string;
  readonly host: string;
  /** Without query. */
  readonly path: string;
  /** What the client got; 0 where the connection broke. */
  readonly status: number;
  readonly target?: string;
  /** What enforced it: the gateway's own compiled rules, a call-out, a cached answer to one, or one kept through an outage. */
  readonly enforced?: "native" | "call_out" | "cached" | "kept";
  readonly decision?: string;
  readonly reason?: string;
  /** Id of the decision's record, where the gateway was given one. */
  readonly decision_record?: string;
  readonly subject?: string;
  readonly role?: string;
  readonly policy?: string;
  /** URI SAN of the verified client certificate. */
  readonly peer?: string;
  readonly upstream_status?: number;
  readonly seconds?: number;
  readonly detail?: string;
}

/** What happened, by kind. The kinds that carry state say so: the session state is a fold over them. */
export interface EventData
  extends NatsEventData,
    EventRecordData,
    OperatorRecordData,
    StreamEventData,
    BreakglassRecordData,
    PolicyRecordData {
  readonly "broker.started": { readonly version: string; readonly policy: string };
  readonly "broker.stopped": Record<string, never>;
  /** State where it `replaces` what was in force. `disk`: what the files say, where an operator set that aside. */
  readonly "policy.loaded": {
    readonly policy: string;
    readonly files: readonly string[];
    readonly roles: number;
    readonly replaces?: string;
    readonly disk?: string;
  };
  readonly "policy.refused": { readonly problems: number; readonly first: string };
  readonly "key.created": { readonly class: string; readonly kid: string };
  /** Published but not yet signing: gateways may learn it until `usable_at`, ms since the epoch. */
  readonly "key.prepared": {
    readonly class: string;
    readonly kid: string;
    readonly usable_at: number;
    readonly because?: string;
  };
  readonly "key.activated": {
    readonly class: string;
    readonly kid: string;
    readonly replaces?: string;
    readonly because?: string;
  };
  /** No longer published: its last token has expired. */
  readonly "key.retired": { readonly class: string; readonly kid: string };
  /** From now on no enforcement point takes it, whatever it signed. */
  readonly "key.revoked": {
    readonly class: string;
    readonly kid: string;
    readonly by?: string;
    readonly because?: string;
  };
  /** What was encrypted with the operator's key before is encrypted with the new one. */
  readonly "keys.rewrapped": { readonly files: readonly string[] };
  /** A certificate of the trust domain's own: a root or an intermediate. Times are ms since the epoch. */
  readonly "ca.created": {
    readonly level: "root" | "intermediate";
    readonly serial: string;
    readonly key_id: string;
    readonly expires_at: number;
  };
  /** State: path pinned to the id first seen. */
  readonly "project.pinned": { readonly issuer: string; readonly path: string; readonly id: string };
  readonly "exchange.refused": {
    readonly code: string;
    readonly detail: string;
    readonly issuer?: string;
    readonly token?: string;
    readonly from?: string;
  };
  /** A refresh token that was not served: stolen, replaced, or without the proof of its session's key. */
  readonly "refresh.refused": {
    readonly code: string;
    readonly detail: string;
    /** Keyed fingerprint of the presented token. */
    readonly token: string;
    readonly from?: string;
  };
  /** State: the session, its replay key and its refresh credential. */
  readonly "session.opened": {
    readonly identity: JobIdentity;
    readonly hard_end_at: number;
    /** `(iss, jti)` or the SHA-256 of the signing input, hashed; kept until `replay_until`. */
    readonly replay_key: string;
    readonly replay_until: number;
    /** RFC 7638 thumbprint of the key the session is bound to. */
    readonly jkt?: string;
    readonly refresh_hash: string;
    readonly idempotency_hash?: string;
    /** A client of this gateway presented the job's own token; from then on the token is a password there and nothing else. */
    readonly presented?: { readonly gateway: string /** Hex SHA-256 of the token. */; readonly token_hash: string };
    /** What was known of the world then; `missing` was asked for and has no value. */
    readonly facts?: Readonly<Record<string, Fact>>;
    readonly missing?: readonly string[];
    readonly parent?: string;
    readonly roles: readonly string[];
    readonly policy: string;
    /** Fingerprint of the subject token. */
    readonly token: string;
    readonly kid?: string;
    readonly from?: string;
  };
  /** State: a later subject token of the same job joined or renewed the session. */
  readonly "session.renewed": {
    readonly hard_end_at: number;
    readonly replay_key: string;
    readonly replay_until: number;
    readonly from?: string;
  };
  /** State: a bearer refresh token rotated; the first one is generation 0. */
  readonly "session.refreshed": { readonly generation: number; readonly refresh_hash: string };
  readonly "credential.minted": {
    readonly class: "access_token";
    readonly jti: string;
    readonly kid: string;
    readonly audience: readonly string[];
    readonly roles: readonly string[];
    readonly narrowing: Narrowing;
    /** RFC 7638 thumbprint of the key it is bound to; absent for a bearer token. */
    readonly jkt?: string;
    readonly expires_at: number;
    /** Keyed fingerprint of the minted token. */
    readonly token: string;
  };
  /** An X.509-SVID (by its serial) or a JWT-SVID (by its `jti`) for a session's role or for a gateway. */
  readonly "svid.minted": {
    readonly type: "x509" | "jwt";
    readonly spiffe_id: string;
    /** Lower-case hex, as `openssl x509 -serial` prints it. */
    readonly serial?: string;
    readonly jti?: string;
    readonly audience?: readonly string[];
    readonly role?: string;
    readonly gateway?: string;
    /** Key id of the CA certificate, or `kid` of the signing key. */
    readonly signer: string;
    readonly expires_at: number;
  };
  readonly "svid.refused": { readonly code: string; readonly detail: string; readonly gateway?: string };
  /** A trust bundle of a federated trust domain was taken, or refused with the reason in `problem`. */
  readonly "bundle.read": { readonly trust_domain: string; readonly sequence?: number; readonly problem?: string };
  /** State: one access token is refused until it would have expired. */
  readonly "credential.revoked": { readonly jti: string; readonly until: number };
  readonly "session.suspended": { readonly reason: SuspendReason };
  readonly "session.resumed": { readonly reason: SuspendReason };
  /** State: final. */
  readonly "session.ended": {
    readonly reason: EndReason;
    readonly detail?: string;
    /** The person, for an operator's end. */
    readonly by?: string;
  };
  /** State: a command runs under a heartbeat; a silent one suspends the session. */
  readonly "lease.held": { readonly lease: string };
  /** State: the command exited; the session lives on. */
  readonly "lease.released": { readonly lease: string };
  /** State: the CI said this job is over, whether or not it had a session. Tombstone until `until`, ms since the epoch. */
  readonly "job.over": {
    readonly issuer: string;
    readonly project_id: string;
    readonly job_id: string;
    readonly status: string;
    readonly until: number;
  };
  /** State: facts read from the CI's API; `missing` were asked for and have no value. */
  readonly "facts.read": { readonly facts: Readonly<Record<string, Fact>>; readonly missing?: readonly string[] };
  readonly "webhook.accepted": {
    readonly issuer: string;
    readonly event: string;
    readonly delivery?: string;
    readonly effect: string;
  };
  readonly "webhook.refused": { readonly issuer: string; readonly code: string; readonly detail: string };
  readonly decision: DecisionData;
  readonly "gateway.request": GatewayRequestData;
  /** What a gateway says it enforces: the version it took, or why it refused the one it was sent. */
  readonly "gateway.reported": {
    readonly gateway: string;
    readonly node: string;
    readonly policy: string;
    readonly accepted: boolean;
    readonly detail?: string;
  };
  /** A gateway's question or connection that was not served. */
  readonly "gateway.refused": { readonly code: string; readonly detail: string; readonly gateway?: string };
  /** Decision numbers up to here may have been given out but not yet be durable. */
  readonly "audit.reserved": { readonly upto: number };
  /** After a crash: at most this many decisions were answered but not recorded. */
  readonly "audit.gap": { readonly after_seq: number; readonly at_most: number };
}

export type RecordKind = keyof EventData;

/** Something to be recorded: what an effectful part hands to the journal. */
export type AuditEvent = {
  readonly [K in RecordKind]: {
    readonly kind: K;
    readonly data: EventData[K];
    readonly session?: string;
    readonly job?: RecordJob;
    readonly trace?: TraceId;
  };
}[RecordKind];

/** One entry of the audit log. */
export type AuditRecord = AuditEvent & {
  /** Schema version. */
  readonly v: 1;
  readonly id: string;
  /** Grows by one per record; a hole is explained by an `audit.gap`. */
  readonly seq: number;
  /** ISO 8601, UTC, milliseconds. */
  readonly time: string;
};

/** Where records go. `append` resolves when the record is durable; `note` takes decisions, durable within 50 ms. */
export interface Recorder {
  /** Resolves with the records, in order, once all of them are durable together. Rejects `journal_unavailable`. */
  append(events: readonly AuditEvent[]): Promise<readonly AuditRecord[]>;
  /** The record's id at once; durable within 50 ms. Throws `journal_unavailable` when the journal cannot take it. */
  note(event: AuditEvent): string;
  /** Resolves when everything noted or appended so far is durable. */
  settled(): Promise<void>;
}

/** The job as records repeat it. */
export function recordJob(identity: JobIdentity): RecordJob {
  return {
    issuer: identity.issuer,
    project_id: identity.project.id,
    project: identity.project.path,
    pipeline_id: identity.pipelineId,
    job_id: identity.job.id,
    ...(identity.job.name === undefined ? {} : { job_name: identity.job.name }),
    ...(identity.ref === undefined ? {} : { ref: identity.ref }),
  };
}
