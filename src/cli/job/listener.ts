import { randomBytes } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { type Dispatcher, Pool } from "undici";
import { asWayleaveError } from "../../core/errors.ts";
import type { Credential } from "./credential.ts";
import type { RefusedRequest } from "./refusals.ts";
import type { SvidSource } from "./svid-source.ts";
import type { TargetRoute } from "./target-address.ts";

export interface Listener {
  /** `http://127.0.0.1:<port>/<secret>`: paths are appended to it. */
  readonly url: string;
  close(): Promise<void>;
}

export interface ListenerOptions {
  readonly route: TargetRoute;
  readonly ca: readonly string[] | undefined;
  readonly trace: string;
  /** A good access token, with its proof where it needs one. Throws when there is none. */
  readonly credential: Credential;
  /** The job's SVIDs and bundles; asked where the target is a service of the mesh. */
  svids(): Promise<Pick<SvidSource, "x509">>;
  /** Who answers is not the service that the target names. */
  onImpostor(detail: string): void;
  /** The gateway refused a request, and named the record. */
  onRefusal(record: string, request: RefusedRequest): void;
  /** No answer, from the broker or from the gateway. */
  onOutage(detail: string): void;
}

/**
 * A listener on loopback for one target, which attaches the credential and sends everything else on as it came, streaming both
 * ways, to the target's gateway and nowhere else. Its URL holds 128 random bits, so that other users of the machine cannot
 * borrow the session; a request with a foreign Host, or one that a web page made, is refused even so.
 */
export async function listenForTarget(options: ListenerOptions): Promise<Listener> {
  const { route, ca } = options;
  const secret = `/${randomBytes(16).toString("base64url")}`;
  const meshConnector = await meshConnect(options);
  const gateway = new Pool(route.gateway.origin, {
    headersTimeout: 0,
    bodyTimeout: 0,
    pipelining: 1,
    allowH2: false,
    connect: meshConnector ?? { servername: route.host, timeout: 10_000, ...(ca === undefined ? {} : { ca: [...ca] }) },
  });
  const server = createServer((request, response) => {
    forward(request, response).catch((error: unknown) => failed(options, error, response));
  });
  server.requestTimeout = 0;
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const authority = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const url = `http://${authority}${secret}`;

  async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const raw = request.url ?? "";
    const method = request.method ?? "GET";
    const problem = foreign(request, authority, secret);
    if (problem !== undefined) {
      const detail = `This listener serves one CI job only: ${problem}. Use the URL in WAYLEAVE_${route.variable}_URL.`;
      answer(response, 403, detail);
      return;
    }
    const path = raw.slice(secret.length).replace(/^(?!\/)/, "/");
    const credential = await options.credential({ method, path });
    const aborted = new AbortController();
    response.once("close", () => aborted.abort());
    const upstream = await gateway.request({
      method: method as Dispatcher.HttpMethod,
      path,
      headers: requestHeaders(request.headers, route.host, credential, options.trace),
      body: hasBody(request.headers) ? request : null,
      signal: aborted.signal,
      responseHeaders: "raw",
    });
    const headers = answerHeaders(upstream.headers as unknown as readonly (string | Buffer)[], url, route);
    if (upstream.statusCode === 401 || upstream.statusCode === 403) {
      const record = headerValue(headers, "x-wayleave-record");
      const operation = `${method} ${path.split("?", 1)[0]}`;
      const reason = headerValue(headers, "x-wayleave-reason") ?? "";
      if (record !== undefined) options.onRefusal(record, { target: route.name, operation, reason });
    }
    noticeOutage(options, upstream.statusCode, headers);
    response.writeHead(upstream.statusCode, headers.flat());
    await pipeline(upstream.body, response);
  }

  return {
    url,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await gateway.destroy();
    },
  };
}

/** How a service of the mesh is connected to; undefined for every other target. */
async function meshConnect({ route, svids, onImpostor }: ListenerOptions) {
  const { name: target, spiffeId } = route;
  if (spiffeId === undefined) return undefined;
  const { connectToService, serviceTrust } = await import("./service-identity.ts");
  const trust = async (trustDomain: string) => serviceTrust(await svids(), trustDomain);
  return connectToService({ target, spiffeId, trust, onImpostor });
}

/** The gateway answered, and nobody decided: no service of its own says that with this header. */
function noticeOutage({ route, onOutage }: ListenerOptions, status: number, headers: ReturnType<typeof answerHeaders>) {
  if (status !== 503 || headerValue(headers, "x-wayleave-decision") !== "outage") return;
  onOutage(
    `${route.gateway.origin}, the gateway of ${route.name}, has no decision from Wayleave: an outage, no refusal.`,
  );
}

/** No answer from upstream, or no token to send: said to the caller, unless half an answer is already out. */
function failed({ route, onOutage }: ListenerOptions, error: unknown, response: ServerResponse): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const known = asWayleaveError(error);
  if (known.code !== "internal") {
    const outage = known.wire.exit === 5;
    if (outage) onOutage(known.message);
    // Neither the broker nor the service is who it should be: no credential would help.
    const impostor = known.code === "access_denied";
    answer(response, outage ? 503 : impostor ? 502 : 401, known.message);
    return;
  }
  const { code } = error as NodeJS.ErrnoException;
  const detail = `${route.gateway.origin}, the gateway of ${route.name}, did not answer (${code ?? "connection failed"}).`;
  onOutage(detail);
  answer(response, 502, detail);
}

/** Why a request is not the job's own: no secret, another Host (DNS rebinding), or the marks of a web page. */
function foreign({ url = "", headers }: IncomingMessage, authority: string, secret: string): string | undefined {
  const next = url.charAt(secret.length);
  if (!url.startsWith(secret) || !(next === "" || next === "/" || next === "?"))
    return "the path lacks the listener's secret";
  if (headers.host !== authority) return "its Host is another";
  if (headers.origin !== undefined || headers["sec-fetch-site"] !== undefined) return "it comes from a web page";
  return undefined;
}

const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "expect",
]);

/** Set by the listener, or not at all. */
const ownHeaders: ReadonlySet<string> = new Set(["host", "authorization", "dpop"]);

function requestHeaders(
  given: IncomingHttpHeaders,
  host: string,
  credential: Awaited<ReturnType<Credential>>,
  trace: string,
): string[] {
  const named = new Set(
    (given.connection ?? "")
      .toLowerCase()
      .split(",")
      .map((name) => name.trim()),
  );
  const headers = ["host", host, ...credential.flat()];
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || ownHeaders.has(name) || hopByHop.has(name) || named.has(name)) continue;
    for (const each of Array.isArray(value) ? value : [value]) headers.push(name, each);
  }
  if (given.traceparent === undefined) headers.push("traceparent", `00-${trace}-${randomBytes(8).toString("hex")}-01`);
  return headers;
}

function hasBody(headers: IncomingHttpHeaders): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

type HeaderPairs = (readonly [name: string, value: string])[];

/** The answer's headers as they came, without those of the connection; a redirect within the target stays on the listener. */
function answerHeaders(raw: readonly (string | Buffer)[], own: string, route: TargetRoute): HeaderPairs {
  const pairs: HeaderPairs = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = String(raw[at]);
    const value = Buffer.isBuffer(raw[at + 1]) ? (raw[at + 1] as Buffer).toString("latin1") : String(raw[at + 1]);
    const lower = name.toLowerCase();
    if (!hopByHop.has(lower)) pairs.push([name, lower === "location" ? relocate(value, own, route) : value]);
  }
  return pairs;
}

function relocate(location: string, own: string, { gateway, host }: TargetRoute): string {
  if (location.startsWith("/") && !location.startsWith("//")) return own + location;
  const origin = [
    gateway.origin,
    `https://${host}`,
    `${gateway.protocol}//${host}${gateway.port ? `:${gateway.port}` : ""}`,
  ].find((start) => location === start || location.startsWith(`${start}/`));
  return origin === undefined ? location : own + location.slice(origin.length);
}

function headerValue(headers: HeaderPairs, lowerName: string): string | undefined {
  return headers.find(([name]) => name.toLowerCase() === lowerName)?.[1] || undefined;
}

function answer(response: ServerResponse, status: number, detail: string): void {
  const body = JSON.stringify({ type: "about:blank", title: "wayleave exec", status, detail });
  response.writeHead(status, { "content-type": "application/problem+json", connection: "close" });
  response.end(`${body}\n`);
}
