import {
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo, ListenOptions } from "node:net";
import { Call, closeAnswered } from "./call.ts";
import { createDeadlines, type Deadlines } from "./deadlines.ts";
import { healthMethods } from "./health.ts";
import type { GrpcMethods } from "./method.ts";
import { notGrpc, timeoutMs } from "./request-head.ts";
import { serveStream } from "./serve-stream.ts";
import { serveUnary } from "./serve-unary.ts";
import { GrpcError, grpcStatus } from "./status.ts";

export interface GrpcServerOptions {
  /** PEM. Without it the server speaks h2c. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Streams open at once on one connection; the next ones wait at the client. 256 unless said. */
  readonly maxConcurrentStreams?: number;
  /** What the health service says; always serving unless said. */
  readonly isServing?: () => boolean;
  /** Told of errors that are ours: for the log. Must not throw. */
  readonly onFault: (error: unknown) => void;
}

export interface GrpcServer {
  /** Listens on `{ host, port }` or `{ path }` (a Unix socket, whose file and folder the caller looks after). */
  listen(where: Pick<ListenOptions, "host" | "port" | "path">): Promise<AddressInfo | string>;
  /**
   * Takes no new connection or call, ends streams with UNAVAILABLE, and lets unary calls finish for `graceMs` (2 s unless
   * said) before their connections are cut.
   */
  close(graceMs?: number): Promise<void>;
}

/** A unary call whose request has not arrived by then is nobody's; ms. */
const unaryTimeoutMs = 30_000;

/** Serves gRPC methods over HTTP/2, and the health service beside them. */
export function createGrpcServer(methods: GrpcMethods, options: GrpcServerOptions): GrpcServer {
  const all: GrpcMethods = { ...healthMethods(methods, options.isServing ?? (() => true)), ...methods };
  const sessions = new Set<ServerHttp2Session>();
  const streams = new Set<Call>();
  const deadlines = createDeadlines();
  const server = createHttp2Server(options);
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  server.on("sessionError", () => {}); // a client that speaks no HTTP/2; its connection is gone
  server.on("stream", (stream, headers) => {
    const call = new Call(stream, headers, options.onFault);
    try {
      serve(all, stream, headers, call, { deadlines, streams });
    } catch (error) {
      call.fail(error);
    }
  });
  return {
    listen: (where) => listen(server, where),
    close: async (graceMs = 2_000) => {
      await close(server, sessions, streams, graceMs);
      deadlines.stop();
    },
  };
}

function createHttp2Server({ tls, maxConcurrentStreams = 256 }: GrpcServerOptions): Http2Server {
  const settings = { settings: { maxConcurrentStreams, maxHeaderListSize: 65_536, enablePush: false } };
  if (tls === undefined) return createServer(settings);
  return createSecureServer({ ...settings, ...tls, minVersion: "TLSv1.2", allowHTTP1: false });
}

function serve(
  methods: GrpcMethods,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  call: Call,
  open: { readonly deadlines: Deadlines; readonly streams: Set<Call> },
): void {
  const refusal = notGrpc(headers);
  if (refusal !== undefined) {
    refuseHttp(stream, call, refusal.status);
    return;
  }
  const path = headers[":path"] ?? "";
  const method = Object.hasOwn(methods, path) ? methods[path] : undefined;
  if (method === undefined) throw new GrpcError(grpcStatus.unimplemented, "no such method here");
  const timeout = timeoutMs(headers);
  if (method.kind === "unary") {
    open.deadlines.add(call, Math.min(timeout ?? unaryTimeoutMs, unaryTimeoutMs));
    serveUnary(method, stream, call);
  } else {
    if (timeout !== undefined) open.deadlines.add(call, timeout);
    open.streams.add(call);
    stream.once("close", () => open.streams.delete(call));
    call.watch();
    serveStream(method, stream, call);
  }
}

/** Whoever asks like this knows nothing of gRPC's trailers. */
function refuseHttp(stream: ServerHttp2Stream, call: Call, status: number): void {
  call.over = true;
  stream.respond({ ":status": status, ...(status === 405 ? { allow: "POST" } : {}) }, { endStream: true });
  closeAnswered(stream);
}

function listen(server: Http2Server, where: ListenOptions): Promise<AddressInfo | string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, () => {
      server.off("error", reject);
      resolve(server.address() ?? "");
    });
  });
}

async function close(
  server: Http2Server,
  sessions: ReadonlySet<ServerHttp2Session>,
  streams: ReadonlySet<Call>,
  graceMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  for (const call of streams) call.cancel(new GrpcError(grpcStatus.unavailable, "the server closes"));
  for (const session of sessions) session.close();
  const cut = setTimeout(() => {
    for (const session of sessions) session.destroy();
  }, graceMs);
  await closed;
  clearTimeout(cut);
}
