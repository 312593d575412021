import { type buildConnector, type Dispatcher, errors, Pool } from "undici";
import type { UpstreamFault } from "./denial.ts";
import type { ProxyLimits, ProxyUpstream } from "./settings.ts";
import type { AnswerSink, UpgradeSink, Upstream, UpstreamRequest } from "./upstream.ts";
import { connectTls, UpstreamConnectError } from "./upstream-tls.ts";

/**
 * A service that speaks HTTP/1.1, over pooled connections. A connection is used again only after an answer that ended where it
 * said; one with bytes to spare, a length and chunks at once, or an answer before the request's end is closed.
 */
export function connectHttp1(upstream: ProxyUpstream, limits: ProxyLimits): Upstream {
  const pool = new Pool(originOf(upstream), {
    pipelining: 1,
    allowH2: false,
    connect: connectorOf(upstream, limits.connectMs),
    headersTimeout: limits.answerMs,
    bodyTimeout: 0, // the exchange as a whole is bounded, and a stream by its session
    maxHeaderSize: 16_384,
    strictContentLength: true,
  });
  return {
    send: (request, sink) => send(pool, request, sink, undefined),
    upgrade: (request, sink) => send(pool, request, sink, sink.upgraded),
    close: () => pool.destroy(),
  };
}

/** undici's own would send, and check, whatever name the request's Host says. */
function connectorOf(
  upstream: ProxyUpstream,
  connectMs: number,
): buildConnector.connector | { readonly timeout: number } {
  const { tls } = upstream;
  if (tls === undefined) return { timeout: connectMs };
  return (_options, callback) =>
    connectTls({ ...upstream, tls }, "http/1.1", connectMs, (error, socket) => {
      if (socket === null) callback(error ?? new UpstreamConnectError("no connection"), null);
      else callback(null, socket);
    });
}

function originOf({ host, port, tls }: ProxyUpstream): string {
  return `${tls === undefined ? "http" : "https"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function send(pool: Pool, request: UpstreamRequest, sink: AnswerSink, upgraded: UpgradeSink["upgraded"] | undefined) {
  let controller: Dispatcher.DispatchController | undefined;
  let over = false;
  const handler: Dispatcher.DispatchHandler & { onBodySent(chunk: Buffer): void } = {
    onRequestStart(started) {
      controller = started;
      if (over) started.abort(new Error("aborted"));
    },
    onBodySent: (chunk) => over || sink.sent(chunk.length),
    onRequestUpgrade(started, _status, _headers, socket) {
      if (over || upgraded === undefined) {
        socket.destroy();
        return;
      }
      over = true;
      upgraded(rawFields(started.rawHeaders), socket);
    },
    onResponseStart(started, status) {
      if (status >= 200 && !over) sink.head(status, rawFields(started.rawHeaders), false);
    },
    onResponseData(started, chunk) {
      if (!over && !sink.data(chunk)) started.pause();
    },
    onResponseEnd(started) {
      if (over) return;
      over = true;
      sink.end(rawFields(started.rawTrailers));
    },
    onResponseError(_controller, error) {
      if (over) return;
      over = true;
      sink.fail(faultOf(error));
    },
  };
  const options: Dispatcher.DispatchOptions & { readonly servername: string } = {
    servername: "upstream", // the same for every request, so that no Host makes undici connect anew
    method: request.method as Dispatcher.HttpMethod,
    path: request.url,
    headers: ["host", request.authority, ...request.fields],
    body: request.body ?? null,
    ...(upgraded === undefined ? {} : { upgrade: "websocket" }),
  };
  pool.dispatch(options, handler);
  return {
    resume: () => controller?.resume(),
    abort() {
      over = true;
      controller?.abort(new Error("aborted"));
    },
  };
}

function rawFields(raw: unknown): readonly (string | Buffer)[] {
  return Array.isArray(raw) ? raw : [];
}

const connecting: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

function faultOf(error: Error): UpstreamFault {
  if (error instanceof errors.HeadersTimeoutError) return "timeout";
  if (error instanceof errors.ConnectTimeoutError || error instanceof UpstreamConnectError) return "unreachable";
  const { code = "" } = error as NodeJS.ErrnoException;
  return connecting.has(code) ? "unreachable" : "broken";
}
