/** Why a connection is over. */
export interface ConnectionEnd {
  /** One word, for records. */
  readonly reason:
    | "client_closed"
    | "server_closed"
    | "session_ended"
    | "session_suspended"
    | "hard_end"
    | "rights_changed"
    | "protocol_error"
    | "second_connect"
    | "too_many_denials"
    | "slow_reader"
    | "client_silent"
    | "server_silent"
    | "outage"
    | "gateway_closed";
  readonly detail: string;
  /** What the client is told; nothing where it left. */
  readonly tell?: string;
  /** Whether what was received before it is still forwarded, and the server heard out. */
  readonly orderly?: true;
}

/** The client left by itself: everything it said before counts. */
export const clientClosed: ConnectionEnd = {
  reason: "client_closed",
  detail: "the client closed the connection",
  orderly: true,
};

/** An end that stands: the client need not come again. Every client takes it for a refusal of its credential. */
export function finalEnd(reason: ConnectionEnd["reason"], detail: string): ConnectionEnd {
  return { reason, detail, tell: `Authorization Violation: ${detail}` };
}

/**
 * An end after which the client should come again. The Go and Python clients never come back after an error that they do not
 * know, and show only one kind without giving up: a permissions violation.
 */
export function passingEnd(reason: ConnectionEnd["reason"], detail: string): ConnectionEnd {
  return { reason, detail, tell: `Permissions Violation: the connection ends: ${detail}; reconnect` };
}

/** The client's own fault: told as it is, and every client gives up. */
export function faultEnd(reason: "protocol_error" | "second_connect", detail: string): ConnectionEnd {
  return { reason, detail, tell: `Protocol Violation: ${detail}` };
}
