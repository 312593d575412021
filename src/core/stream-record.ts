import type { ReasonCode } from "./decision.ts";

/** What is recorded of what the Wayleave proxy kept open. */
export interface StreamEventData {
  /** A WebSocket, a TCP connection, a stream of gRPC or a request that lasted: how it ended, and what went through. */
  readonly "stream.closed": {
    readonly gateway: string;
    readonly target: string;
    /** Id of the record of the decision that let it through. */
    readonly decision_record: string;
    readonly transport: "http" | "grpc" | "websocket" | "tcp";
    /** To the service and from it. */
    readonly bytes_in: number;
    readonly bytes_out: number;
    readonly ms: number;
    /** Who went first. */
    readonly ended_by: "client" | "upstream" | "wayleave";
    /** Why Wayleave ended it. */
    readonly reason?: ReasonCode;
  };
}
