import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import { connect as connectTcp } from "node:net";
import type { Duplex } from "node:stream";
import { headersOf } from "./client-http2.ts";
import type { ProxyLimits, ProxyUpstream } from "./settings.ts";
import type { AnswerSink, Upstream, UpstreamCall, UpstreamRequest } from "./upstream.ts";
import { connectTls } from "./upstream-tls.ts";

/** Before a service has said how many streams it takes at once. */
const streamsAtFirst = 100;

interface Pooled {
  readonly session: ClientHttp2Session;
  streams: number;
}

/** A service that speaks HTTP/2, as gRPC does, over as few connections as its own limit of streams allows. */
export function connectHttp2(upstream: ProxyUpstream, limits: ProxyLimits): Upstream {
  const pooled = new Set<Pooled>();
  let opening: Promise<Pooled> | undefined;
  let closed = false;

  async function open(): Promise<Pooled> {
    const socket = await dial(upstream, limits.connectMs);
    const session = connect(`${upstream.tls === undefined ? "http" : "https"}://upstream`, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: 262_144 },
    });
    const entry: Pooled = { session, streams: 0 };
    session.on("error", () => session.destroy()); // its streams tell their own
    session.on("goaway", () => pooled.delete(entry));
    session.once("close", () => pooled.delete(entry));
    if (closed) session.destroy();
    else pooled.add(entry);
    return entry;
  }

  function withRoom(): Promise<Pooled> | Pooled {
    for (const entry of pooled) {
      const most = entry.session.remoteSettings?.maxConcurrentStreams ?? streamsAtFirst;
      if (entry.streams < most && !entry.session.closed) return entry;
    }
    opening ??= open().finally(() => {
      opening = undefined;
    });
    return opening;
  }

  return {
    send(request, sink) {
      let call: UpstreamCall | undefined;
      let over = false;
      const begin = (entry: Pooled) => {
        if (!over) call = start(entry, upstream, limits, request, sink);
      };
      const found = withRoom();
      if (found instanceof Promise) found.then(begin, () => over || sink.fail("unreachable"));
      else begin(found);
      return {
        resume: () => call?.resume(),
        abort() {
          over = true;
          call?.abort();
        },
      };
    },
    async close() {
      closed = true;
      for (const { session } of pooled) session.destroy();
    },
  };
}

function dial(upstream: ProxyUpstream, timeoutMs: number): Promise<Duplex> {
  const { host, port, tls } = upstream;
  return new Promise((resolve, reject) => {
    if (tls !== undefined) {
      connectTls({ ...upstream, tls }, "h2", timeoutMs, (error, socket) =>
        socket === null ? reject(error) : resolve(socket),
      );
      return;
    }
    const socket = connectTcp({ host, port, noDelay: true });
    const timer = setTimeout(() => socket.destroy(new Error("no connection in time")), timeoutMs);
    socket.once("error", reject);
    socket.once("close", () => clearTimeout(timer));
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

function start(
  entry: Pooled,
  upstream: ProxyUpstream,
  limits: ProxyLimits,
  request: UpstreamRequest,
  sink: AnswerSink,
): UpstreamCall {
  const { body, grpc } = request;
  const headers = {
    ":method": request.method,
    ":path": request.url,
    ":authority": request.authority,
    ":scheme": upstream.tls === undefined ? "http" : "https",
    ...headersOf(request.fields),
    ...(grpc ? { te: "trailers" } : {}),
  };
  let over = false;
  let answered = false;
  let timer: NodeJS.Timeout | undefined;
  const finish = (): boolean => {
    if (over) return false;
    over = true;
    clearTimeout(timer);
    return true;
  };
  let stream: ClientHttp2Stream;
  try {
    stream = entry.session.request(headers, { endStream: body === undefined });
  } catch {
    sink.fail("broken"); // the session ended between two events
    return { resume: () => undefined, abort: () => undefined };
  }
  entry.streams += 1;
  stream.once("close", () => {
    entry.streams -= 1;
    if (finish()) sink.fail("broken");
  });
  stream.on("error", () => undefined); // told by close
  const waitForAnswer = (): void => {
    timer = setTimeout(() => {
      if (finish()) sink.fail("timeout");
      stream.close(constants.NGHTTP2_CANCEL);
    }, limits.answerMs);
  };
  if (body === undefined) waitForAnswer();
  else {
    body.on("data", (chunk: Buffer) => over || sink.sent(chunk.length));
    body.once("end", () => over || answered || waitForAnswer());
    body.pipe(stream);
  }
  receive(stream, sink, {
    over: () => over,
    finish,
    answered() {
      answered = true;
      clearTimeout(timer);
    },
  });
  return {
    resume: () => void stream.resume(),
    abort() {
      finish();
      stream.close(constants.NGHTTP2_CANCEL);
    },
  };
}

/** Hands the answer on as it comes. */
function receive(
  stream: ClientHttp2Stream,
  sink: AnswerSink,
  state: { over(): boolean; finish(): boolean; answered(): void },
): void {
  let trailers: readonly string[] = [];
  // Not in the types: names and values as they came.
  stream.on("response", (headers, flags, ...more: unknown[]) => {
    state.answered();
    if (state.over()) return;
    const last = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    sink.head(Number(headers[":status"]), (more[0] ?? []) as readonly string[], last);
  });
  stream.on("trailers", (_headers, _flags, ...more: unknown[]) => {
    trailers = (more[0] ?? []) as readonly string[];
  });
  stream.on("data", (chunk: Buffer) => {
    if (!state.over() && !sink.data(chunk)) stream.pause();
  });
  stream.once("end", () => {
    // A stream that was reset has an end too.
    if (stream.rstCode === constants.NGHTTP2_NO_ERROR && state.finish()) sink.end(trailers);
  });
}
