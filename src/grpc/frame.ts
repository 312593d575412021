import { type DescMessage, type Message, toBinary } from "@bufbuild/protobuf";
import { GrpcError, grpcStatus } from "./status.ts";

const prefixBytes = 5;

/** A message with its prefix: one byte that says it is not compressed, four of its length. Bytes are taken as they are. */
export function encodeFrame(schema: DescMessage, message: Message | Uint8Array): Uint8Array {
  const body = message instanceof Uint8Array ? message : toBinary(schema, message);
  const frame = Buffer.allocUnsafe(prefixBytes + body.length);
  frame[0] = 0;
  frame.writeUInt32BE(body.length, 1);
  frame.set(body, prefixBytes);
  return frame;
}

export interface FrameReader {
  /** Messages completed by this chunk. Throws `GrpcError` as soon as a prefix shows that the message will be refused. */
  push(chunk: Buffer): readonly Uint8Array[];
  /** Some bytes of an unfinished message were seen. */
  readonly partial: boolean;
}

const nothing: readonly Uint8Array[] = [];

/** Cuts a request body, which arrives in any pieces, into its messages (gRPC over HTTP/2, Length-Prefixed-Message). */
export function createFrameReader(maxBytes: number): FrameReader {
  let held: Buffer[] = [];
  let heldBytes = 0;
  /** Bytes that must be there before anything can be said. */
  let wanted = prefixBytes;
  return {
    get partial() {
      return heldBytes > 0;
    },
    push(chunk) {
      if (heldBytes + chunk.length < wanted) {
        held.push(chunk);
        heldBytes += chunk.length;
        return nothing;
      }
      const bytes = heldBytes === 0 ? chunk : Buffer.concat([...held, chunk]);
      const messages: Uint8Array[] = [];
      let at = 0;
      wanted = prefixBytes;
      while (bytes.length - at >= wanted) {
        const length = messageLength(bytes, at, maxBytes);
        wanted = prefixBytes + length;
        if (bytes.length - at < wanted) break;
        messages.push(bytes.subarray(at + prefixBytes, at + wanted));
        at += wanted;
        wanted = prefixBytes;
      }
      held = at < bytes.length ? [bytes.subarray(at)] : [];
      heldBytes = bytes.length - at;
      return messages;
    },
  };
}

/** The message, where a chunk is just one whole plain frame: what nearly every unary request is. */
export function wholeMessage(chunk: Buffer, maxBytes: number): Uint8Array | undefined {
  const length = chunk.length - prefixBytes;
  if (length < 0 || length > maxBytes || chunk[0] !== 0 || chunk.readUInt32BE(1) !== length) return undefined;
  return chunk.subarray(prefixBytes);
}

function messageLength(bytes: Buffer, at: number, maxBytes: number): number {
  const flag = bytes[at];
  if (flag === 1) throw new GrpcError(grpcStatus.unimplemented, "compressed messages are not accepted; send identity");
  if (flag !== 0) throw new GrpcError(grpcStatus.internal, "a message's first byte is neither 0 nor 1");
  const length = bytes.readUInt32BE(at + 1);
  if (length <= maxBytes) return length;
  throw new GrpcError(grpcStatus.resourceExhausted, `a message has ${length} bytes; ${maxBytes} is the most`);
}
