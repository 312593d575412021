import type { Beside, Outcome, ReasonCode } from "./decision.ts";

/** Which jobs a candidate decides for. */
export interface Canary {
  /** Paths or ids, exactly. */
  readonly projects: readonly string[];
  /** Percent of all other projects, chosen by a hash of issuer, project and candidate: a larger share holds each smaller one. */
  readonly share: number;
}

/** Another policy is in force by an operator's word. */
interface PolicyChange {
  readonly policy: string;
  readonly replaces: string;
  /** What the files said then: as long as they say that, they are set aside. */
  readonly disk: string;
  readonly by: string;
}

/** What a gateway let through although the other of two policies has another outcome, where no record of its own says so. */
export interface PolicyDisagreement {
  readonly gateway: string;
  readonly target: string;
  readonly operation: string;
  readonly outcome: Outcome;
  readonly reason: ReasonCode;
  readonly rule?: string;
  readonly policy: string;
  readonly canary?: true;
  readonly beside: Beside;
  /** How often it was asked since the last such record. */
  readonly count: number;
}

/** By kind of record; part of `EventData`. All but the last are state, and each is an operator's doing. */
export interface PolicyRecordData {
  /** A policy is tried beside the active one. */
  readonly "policy.candidate": {
    readonly policy: string;
    readonly files: readonly string[];
    readonly roles: number;
    readonly by: string;
  };
  readonly "policy.candidate_withdrawn": { readonly policy: string; readonly by: string; readonly detail?: string };
  /** From now on the candidate decides for these; for nobody where both are empty. */
  readonly "policy.canary": Canary & { readonly policy: string; readonly by: string };
  readonly "policy.promoted": PolicyChange;
  readonly "policy.rolled_back": PolicyChange;
  readonly "policy.disagreed": PolicyDisagreement;
}
