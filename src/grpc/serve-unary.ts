import type { ServerHttp2Stream } from "node:http2";
import { fromBinary } from "@bufbuild/protobuf";
import type { Call } from "./call.ts";
import { createFrameReader, encodeFrame, type FrameReader, wholeMessage } from "./frame.ts";
import type { UnaryMethod } from "./method.ts";
import { GrpcError, grpcStatus } from "./status.ts";

/** Unknown fields are nothing to us, and keeping them costs time. */
const decoding = { readUnknownFields: false } as const;

/** Reads exactly one message, answers with exactly one. In the same turn where the method returns no promise. */
export function serveUnary(method: UnaryMethod, stream: ServerHttp2Stream, call: Call): void {
  let reader: FrameReader | undefined;
  let request: Uint8Array | undefined;
  stream.on("data", (chunk: Buffer) => {
    if (call.over) return;
    if (request === undefined && reader === undefined) {
      request = wholeMessage(chunk, method.maxBytes);
      if (request !== undefined) return;
    }
    try {
      reader ??= createFrameReader(method.maxBytes);
      for (const message of reader.push(chunk)) {
        if (request !== undefined) throw new GrpcError(grpcStatus.unimplemented, "more than one request message");
        request = message;
      }
    } catch (error) {
      call.fail(error);
    }
  });
  stream.on("end", () => {
    // A reset ends the body too.
    if (call.over || stream.aborted || stream.destroyed) return;
    if (reader?.partial) call.fail(new GrpcError(grpcStatus.internal, "the request ended inside a message"));
    else if (request === undefined) call.fail(new GrpcError(grpcStatus.unimplemented, "no request message"));
    else answer(method, request, call);
  });
}

function answer(method: UnaryMethod, bytes: Uint8Array, call: Call): void {
  try {
    const response = method.handle(method.read?.(bytes) ?? decode(method, bytes), call);
    if (!(response instanceof Promise)) {
      call.reply(encodeFrame(method.output, response));
      return;
    }
    call.watch();
    response.then((message) => call.reply(encodeFrame(method.output, message))).catch((error) => call.fail(error));
  } catch (error) {
    call.fail(error);
  }
}

/** The request, or a `GrpcError` that says nothing of its content. */
export function decode(method: Pick<UnaryMethod, "input">, bytes: Uint8Array) {
  try {
    return fromBinary(method.input, bytes, decoding);
  } catch {
    throw new GrpcError(grpcStatus.internal, `the request is no ${method.input.typeName}`);
  }
}
