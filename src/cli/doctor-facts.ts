import type { KeysResponse } from "../api/contract.ts";
import type { GatewaysResponse } from "../gateway/gateway-summary.ts";
import type { NatsStatus } from "../gateway/nats/status.ts";
import type { Diagnostic } from "../policy/model.ts";

/** What the checks look at; a part that could not be gathered is absent. Times are ms since the epoch. */
export interface DoctorFacts {
  readonly now: number;
  readonly gateways?: readonly GatewayFacts[];
  readonly issuers?: readonly IssuerClock[];
  readonly keySets?: readonly KeySetAnswer[];
  readonly keys?: KeysResponse;
  readonly inventory?: GatewaysResponse;
  readonly lines?: readonly LineFacts[];
  readonly nginx?: readonly Diagnostic[];
  readonly envoy?: readonly EnvoyFile[];
  readonly certificates?: readonly CertificateFile[];
  readonly resources?: readonly Diagnostic[];
  readonly probes?: readonly ProbeAnswer[];
  readonly nats?: readonly NatsFacts[];
}

export interface GatewayFacts {
  readonly name: string;
  readonly kind: "nginx" | "envoy" | "istio" | "linkerd" | "nats" | "proxy";
  /** False for one that sends no log. */
  readonly ships: boolean;
  /** Longest time it may go on without hearing of ended sessions, ms; only of one that follows them. */
  readonly refusalsTtlMs?: number;
}

/** An issuer's clock, from the Date header of its key set. */
export interface IssuerClock {
  readonly name: string;
  /** How far it is ahead of ours, ms; negative: behind. */
  readonly aheadMs?: number;
  /** Why it could not be asked. */
  readonly problem?: string;
}

/** The broker's key set, asked as a gateway would. */
export interface KeySetAnswer {
  readonly gateway: string;
  readonly url: string;
  readonly keys?: number;
  /** `Cache-Control` as it came. */
  readonly cacheControl?: string;
  readonly problem?: string;
}

/** What a gateway's newest log lines tell of its clock and its shipping. */
export interface LineFacts {
  readonly gateway: string;
  /** When its newest line was recorded. */
  readonly lastAt?: number;
  /** How far each of the newest lines was ahead of our clock when it was recorded, ms. */
  readonly aheadMs: readonly number[];
  /** When a decision was made for it last. */
  readonly decidedAt?: number;
}

export interface EnvoyFile {
  readonly file: string;
  /** Parsed JSON or YAML. */
  readonly config: unknown;
}

export interface CertificateFile {
  readonly file: string;
  /** In the order of the file. */
  readonly chain: readonly CertificateFacts[];
  readonly problem?: string;
}

export interface CertificateFacts {
  readonly subject: string;
  readonly authority: boolean;
  readonly notBefore: number;
  readonly notAfter: number;
  /** The next certificate of the file signed it; true for the last. */
  readonly signedByNext: boolean;
}

/** One request that must be refused, sent to a running gateway. */
export interface ProbeAnswer {
  readonly url: string;
  readonly host: string;
  readonly what: string;
  /** Absent: no answer. */
  readonly status?: number;
}

/** One NATS gateway, what it is told to be, and what is found behind it. */
export interface NatsFacts {
  readonly gateway: string;
  readonly direct: boolean;
  /** Where jobs connect. */
  readonly listen: { readonly address: string; readonly tls: boolean; readonly loopback: boolean };
  readonly servers: readonly NatsServerFacts[];
  /** What the broker says of it. */
  readonly status?: NatsStatus;
}

/** A nats-server, asked as a client that nobody knows. */
export interface NatsServerFacts {
  readonly address: string;
  readonly tls: boolean;
  readonly loopback: boolean;
  /** As it says itself; absent where it could not be asked. */
  readonly version?: string;
  /** Words that follow its address. */
  readonly problem?: string;
  /** Clients that it should have refused and did not, as words that follow "a client". */
  readonly letIn: readonly string[];
}

/** One thing that is not as it should be, or for a `note` that is and should be known. */
export interface Finding {
  readonly level: "note" | "warn" | "fail";
  readonly says: string;
  readonly fix: string;
}

export interface Check {
  /** Public: never renamed, never reused. */
  readonly name: string;
  /** What it looks at, as documentation has it. */
  readonly looks: string;
  /** What must be given so that it can look. */
  readonly needs: string;
  /** Undefined where the facts for it are missing; empty where all is well. */
  run(facts: DoctorFacts): readonly Finding[] | undefined;
}

export const fail = (says: string, fix: string): Finding => ({ level: "fail", says, fix });
export const note = (says: string, fix: string): Finding => ({ level: "note", says, fix });
export const warn = (says: string, fix: string): Finding => ({ level: "warn", says, fix });
