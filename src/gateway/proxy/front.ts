import {
  createServer as createHttp1,
  type Server as Http1Server,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import {
  createServer as createHttp2,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, createServer as createTcp, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTls, type TLSSocket } from "node:tls";

/** What the listener hands on. Neither may throw. */
export interface FrontHandler {
  http1(request: IncomingMessage, response: ServerResponse, expects: boolean): void;
  http2(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, rawHeaders: readonly string[]): void;
  /** `Upgrade: websocket`; `rest` are bytes that came behind the request. */
  upgrade(request: IncomingMessage, socket: Duplex, rest: Buffer): void;
  connect(request: IncomingMessage, socket: Duplex, rest: Buffer): void;
}

export interface Front {
  listen(at: { readonly host: string; readonly port: number }): Promise<number>;
  /** Takes no more connections and no more requests; resolves when nothing is left, after `drainMs` by force. */
  close(drainMs: number): Promise<void>;
  readonly draining: boolean;
}

const maxHeaderBytes = 16_384;
const headersTimeoutMs = 10_000;
const idleMs = 60_000;
/** RFC 9113 §3.4. */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/**
 * One address for HTTP/1.1 and HTTP/2: by ALPN where it serves TLS, else by the first bytes. The parsers are strict; what they
 * refuse gets a bare status and its connection is closed.
 */
export function createFront(
  tls: { readonly cert: string; readonly key: string } | undefined,
  handler: FrontHandler,
): Front {
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  let draining = false;
  const http1 = http1Server(handler);
  const http2 = http2Server(handler, sessions);
  const take = (socket: Socket): void => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.setNoDelay(true);
  };
  const listener: Server =
    tls === undefined
      ? createTcp({ allowHalfOpen: true }, (socket) => {
          take(socket);
          sniff(socket, (spoken) => (spoken === "http2" ? http2 : http1).emit("connection", socket));
        })
      : createTls(
          {
            cert: tls.cert,
            key: tls.key,
            ALPNProtocols: ["h2", "http/1.1"],
            allowHalfOpen: true,
            minVersion: "TLSv1.2",
            handshakeTimeout: headersTimeoutMs,
          },
          (socket: TLSSocket) => {
            take(socket);
            (socket.alpnProtocol === "h2" ? http2 : http1).emit("connection", socket);
          },
        );
  return {
    get draining() {
      return draining;
    },
    listen: (at) =>
      new Promise((resolve, reject) => {
        listener.once("error", reject);
        listener.listen(at, () => {
          listener.off("error", reject);
          http1.emit("listening"); // starts its look at requests that take too long
          resolve((listener.address() as AddressInfo).port);
        });
      }),
    async close(drainMs) {
      draining = true;
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      http1.close(() => undefined);
      http1.closeIdleConnections();
      for (const session of sessions) session.close();
      const timer = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, drainMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

function http1Server(handler: FrontHandler): Http1Server {
  const server = createHttp1({
    maxHeaderSize: maxHeaderBytes,
    requireHostHeader: true,
    insecureHTTPParser: false,
    headersTimeout: headersTimeoutMs,
    requestTimeout: 0, // an exchange as a whole is bounded, unless it may last
    keepAliveTimeout: idleMs,
    connectionsCheckingInterval: 1_000,
    shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === "websocket",
  });
  server.maxHeadersCount = 0; // none is left out of the reading; the size bounds them
  server.on("request", (request, response) => handler.http1(request, response, false));
  server.on("checkContinue", (request, response) => handler.http1(request, response, true));
  server.on("checkExpectation", (_request, response) => {
    response.writeHead(417, { connection: "close" });
    response.end();
  });
  server.on("upgrade", handler.upgrade);
  server.on("connect", handler.connect);
  return server;
}

function http2Server(handler: FrontHandler, sessions: Set<ServerHttp2Session>): Http2Server {
  const server = createHttp2({
    settings: {
      maxConcurrentStreams: 256,
      maxHeaderListSize: maxHeaderBytes,
      enablePush: false,
      initialWindowSize: 262_144,
    },
    maxSessionInvalidFrames: 100,
    maxSessionMemory: 16,
  });
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.setTimeout(idleMs, () => session.close());
  });
  server.on("sessionError", () => undefined); // the session is closed; its streams tell their own
  server.on("stream", (stream, headers, flags, ...more) => {
    stream.on("error", () => undefined); // told by close
    // Not in the types: names and values as they came, those that came twice included.
    handler.http2(stream, headers, flags, (more as unknown as [readonly string[]])[0] ?? []);
  });
  return server;
}

/** Looks at the first bytes of a plain connection, and leaves them unread. */
function sniff(socket: Socket, then: (spoken: "http1" | "http2") => void): void {
  socket.setTimeout(headersTimeoutMs, () => socket.destroy());
  const ended = (): void => void socket.destroy();
  const look = (): void => {
    const seen: Buffer | null = socket.read();
    if (seen === null) return;
    const length = Math.min(seen.length, preface.length);
    const like = seen.compare(preface, 0, length, 0, length) === 0;
    socket.unshift(seen);
    if (like && seen.length < preface.length) return;
    socket.off("readable", look).off("end", ended);
    socket.setTimeout(0);
    then(like ? "http2" : "http1");
  };
  socket.on("readable", look).once("end", ended);
}
