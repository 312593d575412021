import type { IncomingMessage } from "node:http";
import type { Clock } from "../../core/clock.ts";
import type { Policy } from "../../policy/policy.ts";
import type { StandingPoint } from "../decision-point.ts";
import { http1Client } from "./client-http1.ts";
import { http2Client } from "./client-http2.ts";
import { type ExchangeEnd, exchange } from "./exchange.ts";
import { createFront } from "./front.ts";
import { createFieldRules } from "./header-rules.ts";
import { type Change, OpenExchanges } from "./open-exchanges.ts";
import type { RawHead } from "./request-head.ts";
import type { ProxyHttpTarget, ProxySettings } from "./settings.ts";
import { createTargetRouter, type Route } from "./target-router.ts";
import { openTunnel } from "./tunnel.ts";
import { connectHttp1 } from "./upstream-http1.ts";
import { connectHttp2 } from "./upstream-http2.ts";
import { openWebSocket } from "./websocket.ts";

export interface ProxyDeps {
  readonly settings: ProxySettings;
  readonly clock: Clock;
  readonly point: StandingPoint;
  policy(): Pick<Policy, "targets">;
  /** When a session ends at the latest, ms since the epoch; undefined where it is not known any more. */
  hardEndAt(session: string): number | undefined;
  /** Calls back at once with each change. Returns how to stop. */
  watch(listener: (change: Change) => void): () => void;
  /** Told how something that lasted ended: for its record. */
  closed(end: ExchangeEnd): void;
  /** Told what is a fault and no refusal: for the log. Must not throw. */
  onFault(error: unknown): void;
}

export interface ProxyGateway {
  /** Starts to listen, and gives the port. */
  listen(): Promise<number>;
  /** How many exchanges are open. */
  open(): number;
  /** Takes no more, lets what is open finish for as long as the settings say, and ends the rest. */
  close(): Promise<void>;
}

/** The Wayleave proxy: each request is decided, forwarded as it was decided, and ends with its right. */
export function createProxyGateway(deps: ProxyDeps): ProxyGateway {
  const { settings, clock, point } = deps;
  const { limits } = settings;
  const routes = settings.targets.flatMap((target) => (target.kind === "http" ? [routeOf(target, settings)] : []));
  const open = new OpenExchanges({ ...deps, exchangeMs: limits.exchangeMs });
  const parts = {
    ...{ gateway: settings.name, clock, point, open, limits },
    routes: createTargetRouter(routes, deps.policy),
    tcpTargets: new Set(settings.targets.flatMap(({ kind, name }) => (kind === "tcp" ? [name] : []))),
    addressOf: (target: string) => deps.policy().targets.get(target)?.address,
    closed: deps.closed,
    onFault: deps.onFault,
  };
  const secure = settings.tls !== undefined;
  const front = createFront(settings.tls, {
    http1(request, response, expects) {
      const client = http1Client(request, response, { secure, expects, draining: () => front.draining });
      exchange(parts, rawHeadOf(request), client);
    },
    http2(stream, headers, _flags, rawHeaders) {
      const client = http2Client(stream, { secure, bodyless: stream.endAfterHeaders });
      const { ":method": method = "", ":path": url = "", ":authority": authority = headers.host ?? "" } = headers;
      exchange(parts, { method, url, authority, rawHeaders }, client);
    },
    upgrade: (request, socket, rest) => openWebSocket(parts, rawHeadOf(request), { request, socket, rest, secure }),
    connect: (request, socket, rest) => openTunnel(parts, { request, socket, rest, secure }),
  });
  const unwatch = deps.watch((change) => open.changed(change));
  return {
    listen: () => front.listen(settings.listen),
    open: () => open.size,
    async close() {
      await front.close(limits.drainMs);
      open.cutAll();
      unwatch();
      await Promise.all(routes.map(({ upstream }) => upstream.close()));
    },
  };
}

function rawHeadOf({ method = "", url = "", headers, rawHeaders, httpVersion }: IncomingMessage): RawHead {
  return { method, url, authority: headers.host ?? "", rawHeaders, version: httpVersion };
}

function routeOf(target: ProxyHttpTarget, { limits }: ProxySettings): Route {
  const rules = createFieldRules(target.credentialHeader, target.upstreamAuth?.header);
  const connect = target.upstream.protocol === "http2" ? connectHttp2 : connectHttp1;
  return { target, rules, upstream: connect(target.upstream, limits) };
}
