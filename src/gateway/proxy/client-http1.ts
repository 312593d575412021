import type { IncomingMessage, ServerResponse } from "node:http";
import type { Client } from "./client.ts";
import type { Refusal } from "./denial.ts";
import { requestBody } from "./request-body.ts";

/** How long a client that was answered may go on sending before it is cut off, ms. */
const lingerMs = 1_000;

/** A request over HTTP/1.1. `expects`: the client waits for leave to send its body. */
export function http1Client(
  request: IncomingMessage,
  response: ServerResponse,
  options: { readonly secure: boolean; readonly draining: () => boolean; readonly expects?: boolean },
): Client {
  const framed =
    request.headers["transfer-encoding"] !== undefined || Number(request.headers["content-length"] ?? 0) > 0;
  /** A connection with a body on it that nobody read to its end is no good for another request. */
  const lastAnswer = (): void => {
    if (framed && !request.complete) {
      response.shouldKeepAlive = false;
      request.socket.destroySoon = () => linger(request);
    } else if (options.draining()) response.shouldKeepAlive = false;
  };
  return {
    origin: { address: request.socket.remoteAddress ?? "", secure: options.secure },
    ...(framed ? { body: requestBody(request) } : {}),
    get begun() {
      return response.headersSent;
    },
    proceed() {
      if (options.expects === true) response.writeContinue();
    },
    head(status, fields) {
      lastAnswer();
      response.writeHead(status, fields as string[]);
    },
    write: (chunk) => response.write(chunk),
    // Trailers may be left out (RFC 9110 §6.5.1), and hardly a client of HTTP/1.1 reads them.
    end: () => void response.end(),
    refuse(refusal: Refusal) {
      lastAnswer();
      response.writeHead(refusal.status, refusal.fields as string[]);
      response.end(refusal.body);
    },
    cut: () => void response.destroy(),
    onDrain: (listener) => void response.on("drain", listener),
    onClose: (listener) => void response.once("close", listener),
  };
}

/** Closes our side; what still comes is thrown away for a moment, since a reset could take the answer with it (RFC 9112 §9.6). */
function linger(request: IncomingMessage): void {
  const { socket } = request;
  socket.end();
  request.resume();
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  socket.once("close", () => clearTimeout(timer));
}
