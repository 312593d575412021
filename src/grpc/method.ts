import type { DescMessage, Message, MessageShape } from "@bufbuild/protobuf";

/** What a method knows of its caller besides the request. */
export interface GrpcCall {
  /** Request metadata by lower-case name; several values of one name are joined by `, `. Binary values stay base64. */
  readonly metadata: ReadonlyMap<string, string>;
  /** The caller's address, or `unix`. */
  readonly peer: string;
  /** Aborts when the client went away, its deadline passed or the server closes. A streaming method that waits must heed it. */
  readonly signal: AbortSignal;
}

export interface UnaryMethod {
  readonly kind: "unary";
  readonly input: DescMessage;
  readonly output: DescMessage;
  /** Largest request message, bytes. */
  readonly maxBytes: number;
  /** Reads the request in a way of its own; by the schema where it is absent. Throws `GrpcError` for what is no such message. */
  readonly read?: (bytes: Uint8Array) => unknown;
  handle(request: unknown, call: GrpcCall): Response | Promise<Response>;
}

/** A message, or the bytes of one for methods that know a faster way to write it. */
type Response = Message | Uint8Array;

export interface StreamMethod {
  readonly kind: "stream";
  readonly input: DescMessage;
  readonly output: DescMessage;
  /** Largest single request message, bytes. */
  readonly maxBytes: number;
  handle(requests: AsyncIterable<Message>, call: GrpcCall): AsyncIterable<Message>;
}

export type GrpcMethod = UnaryMethod | StreamMethod;

/** Methods by path: `/package.Service/Method`. */
export type GrpcMethods = Readonly<Record<string, GrpcMethod>>;

export interface MethodOptions {
  /** Largest request message, bytes; 64 KiB unless said. */
  readonly maxBytes?: number;
}

const defaultMaxBytes = 65_536;

/** One request, one response. A handler that returns no promise is answered in the same turn. */
export function unary<I extends DescMessage, O extends DescMessage>(
  input: I,
  output: O,
  handle: (request: MessageShape<I>, call: GrpcCall) => MessageShape<O> | Promise<MessageShape<O>>,
  { maxBytes = defaultMaxBytes }: MethodOptions = {},
): GrpcMethod {
  return { kind: "unary", input, output, maxBytes, handle: handle as UnaryMethod["handle"] };
}

/** As `unary`, for a method that reads its request and writes its response faster than by their schemas. */
export function handWrittenUnary<R>(
  input: DescMessage,
  output: DescMessage,
  read: (bytes: Uint8Array) => R,
  handle: (request: R, call: GrpcCall) => Uint8Array | Promise<Uint8Array>,
  { maxBytes = defaultMaxBytes }: MethodOptions = {},
): GrpcMethod {
  return { kind: "unary", input, output, maxBytes, read, handle: handle as UnaryMethod["handle"] };
}

/**
 * Client, server and bidirectional streams. `requests` ends when the client has said everything, and throws `cancelled`
 * when it went away before. Response headers wait for the first response, so that an early error is trailers-only.
 */
export function stream<I extends DescMessage, O extends DescMessage>(
  input: I,
  output: O,
  handle: (requests: AsyncIterable<MessageShape<I>>, call: GrpcCall) => AsyncIterable<MessageShape<O>>,
  { maxBytes = defaultMaxBytes }: MethodOptions = {},
): GrpcMethod {
  return { kind: "stream", input, output, maxBytes, handle: handle as StreamMethod["handle"] };
}
