import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Client } from "./client.ts";
import { grpcMessage, type Refusal } from "./denial.ts";
import { requestBody } from "./request-body.ts";

/** How long a client that reads slowly has for the last words of an answer that is cut, ms. */
const lastWordsMs = 50;

/** A request over HTTP/2. */
export function http2Client(
  stream: ServerHttp2Stream,
  options: { readonly secure: boolean; readonly bodyless: boolean },
): Client {
  let trailers: OutgoingHttpHeaders = {};
  return {
    origin: { address: stream.session?.socket.remoteAddress ?? "", secure: options.secure },
    ...(options.bodyless ? {} : { body: requestBody(stream) }),
    get begun() {
      return stream.headersSent;
    },
    proceed: () => stream.additionalHeaders({ ":status": 100 }),
    head(status, fields, last) {
      if (stream.destroyed) return;
      if (last) {
        stream.respond({ ":status": status, ...headersOf(fields) }, { endStream: true });
        return;
      }
      stream.respond({ ":status": status, ...headersOf(fields) }, { waitForTrailers: true });
      stream.once("wantTrailers", () => stream.sendTrailers(trailers));
    },
    write: (chunk) => stream.write(chunk),
    end(fields) {
      if (stream.writableEnded) return;
      trailers = headersOf(fields);
      stream.end();
      if (!stream.readableEnded) stopReading(stream);
    },
    refuse(refusal: Refusal) {
      if (stream.destroyed) return;
      stream.respond({ ":status": refusal.status, ...headersOf(refusal.fields) }, { endStream: refusal.body === "" });
      if (refusal.body !== "") stream.end(refusal.body);
      stopReading(stream);
    },
    cut(message) {
      if (message === undefined || !stream.headersSent || stream.writableEnded) {
        stream.close(constants.NGHTTP2_CANCEL);
        return;
      }
      trailers = { "grpc-status": "7", "grpc-message": grpcMessage(message) };
      stream.end();
      const timer = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), lastWordsMs);
      stream.once("close", () => clearTimeout(timer));
    },
    onDrain: (listener) => void stream.on("drain", listener),
    onClose: (listener) => void stream.once("close", listener),
  };
}

/**
 * After a whole answer the rest of the request is not wanted (RFC 9113 §8.1). Not at once: in Node 22 the reset overtakes
 * headers that still wait to be sent, and the client hears nothing else.
 */
function stopReading(stream: ServerHttp2Stream): void {
  stream.once("finish", () => setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR)));
  stream.resume();
}

/** Lower-case names, each once. */
export function headersOf(fields: readonly string[]): OutgoingHttpHeaders {
  const headers: Record<string, string | string[]> = Object.create(null);
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = (fields[at] as string).toLowerCase();
    const value = fields[at + 1] as string;
    const known = headers[name];
    if (known === undefined) headers[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else headers[name] = [known, value];
  }
  return headers;
}
