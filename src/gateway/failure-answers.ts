import type { ReasonCode } from "../core/decision.ts";
import type { ErrorCode } from "../core/errors.ts";

/** How a request can fail to get through. Only `outage` says nothing about the caller: to try again is right. */
export const failures = ["denied", "rate_limited", "unauthenticated", "outage"] as const;
export type Failure = (typeof failures)[number];

/** What one dialect says of one failure. */
export interface FailureAnswer {
  /** Status the client sees. */
  readonly client: number;
  /** Status that the gateway is told when it asks. */
  readonly gateway: number;
  /** `X-Wayleave-Decision`. */
  readonly decision: "deny" | "outage";
  /** An `X-Wayleave-Reason` of the kind. */
  readonly reason: ReasonCode;
}

/**
 * What each dialect answers: the one place where an outage is told apart from a denial. Held against the real answers by a
 * test, and printed as `docs/reference/outage.md`.
 */
export const failureAnswers = {
  nginx: {
    denied: { client: 403, gateway: 403, decision: "deny", reason: "no_role" },
    rate_limited: { client: 429, gateway: 403, decision: "deny", reason: "limit_exceeded" },
    unauthenticated: { client: 401, gateway: 401, decision: "deny", reason: "credential_expired" },
    outage: { client: 503, gateway: 503, decision: "outage", reason: "outage" },
  },
  envoy: {
    denied: { client: 403, gateway: 403, decision: "deny", reason: "no_role" },
    rate_limited: { client: 429, gateway: 429, decision: "deny", reason: "limit_exceeded" },
    unauthenticated: { client: 401, gateway: 401, decision: "deny", reason: "credential_expired" },
    outage: { client: 503, gateway: 503, decision: "outage", reason: "outage" },
  },
} as const satisfies Readonly<Record<string, Readonly<Record<Failure, FailureAnswer>>>>;

/** What a command's exit status says of the same, by the error it ends with. */
export const failureErrors = {
  denied: "access_denied",
  rate_limited: "access_denied",
  unauthenticated: "credential_invalid",
  outage: "broker_unreachable",
} as const satisfies Readonly<Record<Failure, ErrorCode>>;
