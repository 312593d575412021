import type { Actor, OperatorRole } from "./person.ts";

/** State: somebody may operate the broker until `expires_at`, with the key of thumbprint `jkt`. */
export interface OperatorSignedIn {
  /** `sgn_` and 16 characters. */
  readonly sign_in: string;
  readonly who: Actor;
  readonly roles: readonly OperatorRole[];
  /** Hex SHA-256 of the opaque token. */
  readonly token_hash: string;
  readonly jkt: string;
  /** ms since the epoch. */
  readonly expires_at: number;
  /** Fingerprint of the configuration that gave the roles: under another one the sign-in is void. */
  readonly basis: string;
  /** The ID token, hashed: it signs in once. Absent for the bootstrap token. */
  readonly replay_key?: string;
  /** ms since the epoch. */
  readonly replay_until?: number;
  readonly from?: string;
}

/** State: the sign-in is over before its time. */
export interface OperatorSignedOut {
  readonly sign_in: string;
  readonly who: Actor;
  /** Who ended it. */
  readonly by: string;
  /** When it would have been over, ms since the epoch. */
  readonly until: number;
}

/** Somebody was not let in: a sign-in that failed, or a request without one. */
export interface OperatorRefused {
  readonly code: string;
  readonly detail: string;
  readonly who?: Actor;
  /** What was wanted, as a command says it. */
  readonly action?: string;
  readonly from?: string;
}

/** Somebody who was let in did something, or was refused it. */
export interface OperatorAction {
  readonly who: Actor;
  readonly sign_in?: string;
  /** As a command says it: `session end`. */
  readonly action: string;
  /** Method and path, which names what it was done to. */
  readonly request: string;
  /** The role it needs. */
  readonly role?: OperatorRole;
  readonly outcome: "done" | "refused" | "failed";
  readonly code?: string;
  readonly detail?: string;
  readonly from?: string;
}

/** State: the one token that lets somebody in before the first operator signed in. There is never a second. */
export interface OperatorBootstrapMade {
  /** Hex SHA-256. */
  readonly token_hash: string;
  /** ms since the epoch. */
  readonly expires_at: number;
}

/** State: the bootstrap token is void for good, and so is what it opened. */
export interface OperatorBootstrapEnded {
  readonly reason: "person_signed_in" | "expired";
}

/** By kind of record; part of `EventData`. */
export interface OperatorRecordData {
  readonly "operator.signed_in": OperatorSignedIn;
  readonly "operator.signed_out": OperatorSignedOut;
  readonly "operator.refused": OperatorRefused;
  readonly "operator.action": OperatorAction;
  readonly "operator.bootstrap_made": OperatorBootstrapMade;
  readonly "operator.bootstrap_ended": OperatorBootstrapEnded;
}

/** A record that the fold over sign-ins takes. */
export type OperatorRecord = {
  readonly [K in StateKind]: { readonly kind: K; readonly data: OperatorRecordData[K] };
}[StateKind];

const stateKinds = [
  "operator.signed_in",
  "operator.signed_out",
  "operator.bootstrap_made",
  "operator.bootstrap_ended",
] as const satisfies readonly (keyof OperatorRecordData)[];
type StateKind = (typeof stateKinds)[number];
const kinds: ReadonlySet<string> = new Set(stateKinds);

export function isOperatorRecord(record: { readonly kind: string }): record is OperatorRecord {
  return kinds.has(record.kind);
}
