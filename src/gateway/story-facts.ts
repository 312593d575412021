import type { NatsCount } from "../core/nats-record.ts";
import type { AuditRecord } from "../core/record.ts";
import type { IdentityPair } from "./metric-series.ts";

/** Everything a story is told from: plain data, so that it can travel. Times are ms since the epoch. */
export interface StoryFacts {
  readonly session: StorySession;
  readonly trustDomain: string;
  readonly gateways: readonly StoryGateway[];
  /**
   * Oldest first: the session's own records, and every `gateway.request` and `decision` that may belong to it by its
   * decision or trace.
   */
  readonly records: readonly AuditRecord[];
  /** Policies loaded while the session lived, oldest first. */
  readonly policies: readonly { readonly version: string; readonly at: number }[];
  readonly jobLog: JobLogReading;
  /** Who talked to whom in a mesh, where its metrics were given. */
  readonly mesh?: { readonly source: string; readonly pairs: readonly IdentityPair[] };
  /** What the records of messages over NATS add up to, by connection; `records` does not hold them. */
  readonly nats?: readonly NatsTraffic[];
  /** True where there were more records than a story can hold. */
  readonly cut: boolean;
  readonly now: number;
}

export interface StorySession {
  readonly id: string;
  /** SPIFFE ID that its tokens carry. */
  readonly subject: string;
  readonly issuer: string;
  readonly project: string;
  readonly jobId: string;
  readonly jobName?: string;
  readonly ref?: string;
  readonly state: "active" | "suspended" | "ended";
  readonly openedAt: number;
  readonly endedAt?: number;
  readonly endReason?: string;
}

/** One enforcement point of the inventory. */
export interface StoryGateway {
  readonly name: string;
  readonly kind: "nginx" | "envoy" | "istio" | "linkerd" | "nats" | "proxy";
  readonly targets: readonly string[];
  /** Gateways in front of it; empty for one that takes access tokens. */
  readonly behind: readonly string[];
  /** True where every request of it becomes a decision; false where it may enforce by itself. */
  readonly asks: boolean;
  /** How its log reaches the broker; `none` for one that sends nothing. */
  readonly ships: "follow" | "grpc" | "none";
  /** When anything of its log was taken last. */
  readonly heardAt?: number;
  /** When it was heard of last in any other way: it asked, or follows who is refused. */
  readonly aliveAt?: number;
  /** Its published bound: how late it may refuse an ended session, ms. */
  readonly boundMs: number;
}

/** What the records of one connection's messages add up to. */
export interface NatsTraffic {
  readonly connection: string;
  readonly gateway: string;
  readonly published: NatsCount;
  readonly delivered: NatsCount;
  /** When the last of them was published or delivered. */
  readonly lastAt: number;
  /** True where not all of them were added up. */
  readonly cut: boolean;
}

/** Whether the job's own log says that it opened the session. */
export interface JobLogReading {
  readonly state: "found" | "absent" | "unread";
  /** Where it was read, or why it was not. */
  readonly detail: string;
}

/** The line `wayleave` prints into the job's log when it opens this session. */
export function openedNeedle(session: string): string {
  return `session ${session} opened`;
}
