import type { IncomingMessage, ServerResponse } from "node:http";
import type { Client } from "./client.ts";
import type { Refusal } from "./denial.ts";

/** A request over HTTP/1.1. `expects`: the client waits for leave to send its body. */
export function http1Client(
  request: IncomingMessage,
  response: ServerResponse,
  options: { readonly secure: boolean; readonly draining: () => boolean; readonly expects?: boolean },
): Client {
  const framed =
    request.headers["transfer-encoding"] !== undefined || Number(request.headers["content-length"] ?? 0) > 0;
  return {
    origin: { address: request.socket.remoteAddress ?? "", secure: options.secure },
    ...(framed ? { body: request } : {}),
    get begun() {
      return response.headersSent;
    },
    proceed() {
      if (options.expects === true) response.writeContinue();
    },
    head(status, fields) {
      if (options.draining()) response.shouldKeepAlive = false;
      response.writeHead(status, fields as string[]);
    },
    write: (chunk) => response.write(chunk),
    // Trailers may be left out (RFC 9110 §6.5.1), and hardly a client of HTTP/1.1 reads them.
    end: () => void response.end(),
    refuse(refusal: Refusal) {
      // What is left of the body would have to be read before the next request could be.
      if (framed || options.draining()) response.shouldKeepAlive = false;
      response.writeHead(refusal.status, refusal.fields as string[]);
      response.end(refusal.body);
    },
    cut: () => void response.destroy(),
    onDrain: (listener) => void response.on("drain", listener),
    onClose: (listener) => void response.once("close", listener),
  };
}
