import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { GrpcCall } from "./method.ts";
import { GrpcError, grpcStatus, isFault, type StatusLine, statusOf } from "./status.ts";

const responseHeaders: OutgoingHttpHeaders = Object.freeze({ ":status": 200, "content-type": "application/grpc" });
const ok: StatusLine = Object.freeze({ code: grpcStatus.ok, message: "" });

/** One call on one HTTP/2 stream: what its method is told, and the only place that answers. It is answered once. */
export class Call implements GrpcCall {
  /** Set once the call has its status, or nobody waits for it any more. */
  over = false;
  /** Told when the call is over for another reason than its method's answer. */
  onCancel: ((error: GrpcError) => void) | undefined;
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  readonly #onFault: (error: unknown) => void;
  #trailers: StatusLine = ok;
  #metadata: ReadonlyMap<string, string> | undefined;
  #controller: AbortController | undefined;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, onFault: (error: unknown) => void) {
    this.#stream = stream;
    this.#headers = headers;
    this.#onFault = onFault;
    stream.on("error", ignore); // the client's doing; "close" follows
  }

  /** From here on the call is over when the client goes away. What is answered in the turn it arrives needs no such care. */
  watch(): void {
    this.#stream.once("close", () => this.#closed());
    if (this.#stream.destroyed) this.#closed();
  }

  get metadata(): ReadonlyMap<string, string> {
    this.#metadata ??= metadataOf(this.#headers);
    return this.#metadata;
  }

  get peer(): string {
    return this.#stream.session?.socket?.remoteAddress ?? "unix";
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.over) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  /** The whole answer of a unary call. */
  reply(frame: Uint8Array): void {
    if (this.over) return;
    this.#begin();
    this.over = true;
    this.#stream.end(frame);
  }

  /** One response of a stream. Resolves when there is room for the next. */
  async write(frame: Uint8Array): Promise<void> {
    if (this.over) return;
    if (!this.#stream.headersSent) this.#begin();
    if (this.#stream.write(frame)) return;
    await new Promise<void>((resolve) => {
      this.#stream.once("drain", resolve);
      this.#stream.once("close", resolve);
    });
  }

  /** The end of a stream's responses. */
  finish(): void {
    if (this.over) return;
    if (!this.#stream.headersSent) this.#begin();
    this.over = true;
    this.#stream.end();
  }

  /** Answers with an error's status: trailers-only where nothing was said yet. */
  fail(error: unknown): void {
    if (isFault(error)) this.#onFault(error);
    if (this.over) return;
    this.over = true;
    const status = statusOf(error);
    if (this.#stream.headersSent) {
      this.#trailers = status;
      this.#stream.end();
      return;
    }
    this.#stream.respond({ ...responseHeaders, ...statusHeaders(status) }, {
      endStream: true,
      sendDate: false,
    } as object);
    closeAnswered(this.#stream);
  }

  /** Ends the call from outside its method. */
  cancel(error: GrpcError): void {
    if (this.over) return;
    this.fail(error);
    this.#abort(error);
  }

  #begin(): void {
    this.#stream.respond(responseHeaders, { waitForTrailers: true, sendDate: false } as object);
    this.#stream.on("wantTrailers", () => this.#stream.sendTrailers(statusHeaders(this.#trailers)));
  }

  #closed(): void {
    if (this.over) return;
    this.over = true;
    this.#abort(new GrpcError(grpcStatus.cancelled, "the client went away"));
  }

  #abort(error: GrpcError): void {
    this.#controller?.abort(error);
    this.onCancel?.(error);
  }
}

function ignore(): void {}

function metadataOf(headers: IncomingHttpHeaders): ReadonlyMap<string, string> {
  const metadata = new Map<string, string>();
  for (const name in headers) {
    const value = headers[name];
    if (name.startsWith(":") || value === undefined) continue;
    metadata.set(name, typeof value === "string" ? value : value.join(", "));
  }
  return metadata;
}

const plainOk: OutgoingHttpHeaders = Object.freeze({ "grpc-status": "0" });

function statusHeaders({ code, message, details }: StatusLine): OutgoingHttpHeaders {
  if (code === grpcStatus.ok) return plainOk;
  return {
    "grpc-status": String(code),
    "grpc-message": percentEncoded(message),
    ...(details === undefined ? {} : { "grpc-status-details-bin": Buffer.from(details).toString("base64") }),
    ...(code === grpcStatus.unimplemented ? { "grpc-accept-encoding": "identity" } : {}),
  };
}

/** `grpc-message`: printable ASCII but `%`; everything else by its UTF-8 bytes. */
function percentEncoded(message: string): string {
  return message
    .slice(0, 1024)
    .replace(/[^\x20-\x24\x26-\x7e]+/gu, (part) => encodeURIComponent(part.toWellFormed()).replaceAll("'", "%27"));
}

/**
 * Closes a stream whose whole answer was given, since the client may still be sending and nobody listens (RFC 9113 §8.1).
 * Not at once: in Node 22 the reset overtakes headers that still wait to be sent, and the client hears nothing else.
 */
export function closeAnswered(stream: ServerHttp2Stream): void {
  setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
}
