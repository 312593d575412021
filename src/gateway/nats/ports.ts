import type { Decision } from "../../core/decision.ts";
import type { AuditEvent } from "../../core/record.ts";
import type { NatsOperation } from "../../core/target.ts";

/** What a client's CONNECT said about who it is. Everything in it is a claim until it was verified. */
export interface Presented {
  /**
   * `auth_token` or `pass`: a password of `wayleave nats env`, or the job's raw CI token. For a credentials file `jwt`, with
   * the signature of our own nonce.
   */
  readonly secret: string;
  readonly proof?: { readonly nonce: string; readonly signature: string };
  /** `user`: the name of the target, where the job has several. */
  readonly user?: string;
}

/** One client that wants in. */
export interface AdmissionRequest {
  /** Gateway name from the inventory. */
  readonly gateway: string;
  readonly presented: Presented;
  /** Network address it comes from. */
  readonly from: string;
  /** Labels it gives itself. */
  readonly client: { readonly name?: string; readonly lang?: string; readonly version?: string };
}

/** A client that is known, and what stays the same for the whole connection. */
export interface Admission {
  /** `nc_` and 16 characters. */
  readonly connection: string;
  readonly session: string;
  readonly target: string;
  readonly account: string;
  /** First token of the job's own inboxes upstream, `_INBOX_` and the session's characters; no dot. */
  readonly inbox: string;
  /** Value of the identity header, one line of printable ASCII: who the job is, as every receiver may read it. */
  readonly identity: string;
  readonly records: "durable" | "fast";
  readonly deliveries: "counted" | "full";
  /** ms since the epoch: the session's hard end. It may be renewed: ask `hardEndAt` of the authority for the current one. */
  readonly hardEndAt: number;
  /** What every record about it carries. */
  readonly record: Pick<AuditEvent, "session" | "job" | "trace">;
}

/** nats-server's own words about the connection the gateway opened for a client: from its INFO. */
export interface UpstreamGreeting {
  readonly serverId: string;
  readonly cid: number;
  readonly version: string;
  /** What `proxy_sig` signs. */
  readonly nonce: string;
}

/** What the gateway puts into its upstream CONNECT. Single use, good for this server and cid alone, 5 s. */
export interface UpstreamPass {
  readonly ticket: string;
  readonly proxySignature: string;
}

export type SessionChange =
  /** It is over: close everything, refuse everything. `why` is for the client, one line. */
  | { readonly kind: "ended"; readonly session: string; readonly why: string }
  /** Facts, suspension or policy changed: decisions made so far may no longer hold. */
  | { readonly kind: "changed"; readonly session: string }
  /** The rights that the server was told for the connection's user no longer cover policy's: the client must come again. */
  | { readonly kind: "rights"; readonly session: string; readonly why: string };

/**
 * Who may do what, and where it is written down: the broker itself, or the broker over the network where the gateway is a
 * process of its own. A fault is a refusal everywhere.
 */
export interface NatsAuthority {
  /** Verifies what was presented. Rejects a `WayleaveError` whose detail the client is told; the refusal is recorded. */
  admit(request: AdmissionRequest): Promise<Admission>;
  /** Records the connection durably (`nats.connected`), then gives the pass. Rejects like `admit`. */
  attach(admission: Admission, upstream: UpstreamGreeting): Promise<UpstreamPass>;
  /** The decision of this moment. Never throws; what cannot be decided (stale, unknown session) is a deny with reason `outage` or `session_unknown`. */
  decide(admission: Admission, operation: NatsOperation): Decision;
  /** Counts a use of a limit that an allow reported. */
  count(decision: Decision): void;
  /**
   * Grows whenever an earlier decision of this session may no longer hold, time excepted. A decision that is `unconditional`
   * holds while this stays the same.
   */
  epoch(session: string): number;
  /** Current hard end, ms since the epoch; 0 for a session that is not active, or of which nothing is believed any more. */
  hardEndAt(session: string): number;
  /** True once all of them are durable. Rejects `journal_unavailable`: then nothing of them may happen. */
  append(events: readonly AuditEvent[]): Promise<void>;
  /** Durable within 50 ms. Throws `journal_unavailable`: then it may not happen. */
  note(event: AuditEvent): void;
  /** Resolves when everything noted so far is durable: what a gateway waits for when it is ahead of the disk. */
  settled(): Promise<void>;
  /** Must be told before any connection is admitted; returns what stops it. */
  watch(listener: (change: SessionChange) => void): () => void;
}

/** What nats-server said of a connection that closed: `$SYS.ACCOUNT.*.DISCONNECT`. */
export interface ServerTotals {
  readonly received: { readonly messages: number; readonly bytes: number };
  readonly sent: { readonly messages: number; readonly bytes: number };
}

/** What the gateway needs of the system account. */
export interface ServerControl {
  /** Closes one connection at the server: the backstop. Resolves false where the server did not answer. */
  kick(serverId: string, cid: number): Promise<boolean>;
  /** The server's totals of a connection that closed; undefined where it does not tell within `timeoutMs`. */
  totals(serverId: string, cid: number, timeoutMs: number): Promise<ServerTotals | undefined>;
}
