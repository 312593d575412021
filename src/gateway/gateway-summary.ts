import type { BreakglassInForce } from "../core/breakglass-record.ts";

/** What `GET /v1/gateways` says of one gateway of the inventory. Wire names; times are ISO 8601. */
export interface GatewaySummary {
  readonly name: string;
  readonly kind: "nginx" | "envoy" | "istio" | "linkerd" | "nats" | "proxy";
  readonly environment?: string;
  readonly mode: "native" | "call_out";
  readonly targets: readonly string[];
  /**
   * What it says it enforces. `current`: every one of it was rendered from the policy in force, or asks for each request;
   * `older`: some of it was not; `unknown`: nothing was heard of that.
   */
  readonly policy: "current" | "older" | "unknown";
  /** Absent: not since the broker started. */
  readonly last_heard?: string;
  /** Age of what the slowest of it last took of the ended sessions, seconds; only of one that follows them. */
  readonly acknowledged_seconds?: number;
  /** What goes on there while Wayleave is away (`on_outage: keep`), and for how long at most. Absent: nothing. */
  readonly kept?: readonly { readonly target: string; readonly seconds: number }[];
  /** Each Envoy that told of itself. */
  readonly nodes: readonly GatewayNodeSummary[];
  /** What a person should know or do; one sentence each. */
  readonly notes: readonly string[];
}

export interface GatewayNodeSummary {
  readonly id: string;
  /** Version of the policy its configuration was rendered from. */
  readonly policy?: string;
  readonly connected: boolean;
  readonly last_heard: string;
  readonly acknowledged?: { readonly version: string; readonly made_at: string };
  /** Why it refused the newest that was sent to it. */
  readonly refused?: string;
}

export interface GatewaysResponse {
  /** Version of the policy in force. */
  readonly policy: string;
  readonly gateways: readonly GatewaySummary[];
  /** Break-glass that was used and is not over. */
  readonly breakglass?: readonly BreakglassInForce[];
}
