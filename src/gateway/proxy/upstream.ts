import type { Duplex, Readable } from "node:stream";
import type { UpstreamFault } from "./denial.ts";

/** One request as the service gets it. */
export interface UpstreamRequest {
  readonly method: string;
  /** The very bytes that were decided, with the query. */
  readonly url: string;
  readonly authority: string;
  /** Names and values in turn. */
  readonly fields: readonly string[];
  /** Absent: the request has none. */
  readonly body?: Readable;
  readonly grpc: boolean;
}

/** Who takes the answer. Exactly one of `end` and `fail` is the last call. */
export interface AnswerSink {
  /** Bytes of the request's body went on. */
  sent(bytes: number): void;
  /** Names and values in turn, raw. `last`: nothing follows, as in an answer of gRPC that is trailers only. */
  head(status: number, fields: readonly (string | Buffer)[], last: boolean): void;
  /** False: no more until `resume`. */
  data(chunk: Buffer): boolean;
  end(trailers: readonly (string | Buffer)[]): void;
  fail(fault: UpstreamFault): void;
}

/** Who takes the answer to `Upgrade: websocket`: `upgraded` stands for head and end where the service agrees. */
export interface UpgradeSink extends AnswerSink {
  upgraded(fields: readonly (string | Buffer)[], socket: Duplex): void;
}

export interface UpstreamCall {
  resume(): void;
  /** Nothing is told the sink any more, and the connection is not used again. */
  abort(): void;
}

export interface Upstream {
  send(request: UpstreamRequest, sink: AnswerSink): UpstreamCall;
  /** Absent: the service has no WebSockets. */
  upgrade?(request: UpstreamRequest, sink: UpgradeSink): UpstreamCall;
  close(): Promise<void>;
}
