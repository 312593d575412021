import { randomUUID } from "node:crypto";
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyPluginAsync, LogController } from "fastify";
import type { Logger } from "pino";
import { WayleaveError } from "../core/errors.ts";
import { problem } from "./problem.ts";

export interface AppOptions {
  readonly log: Logger;
  /** PEM; absent: plain HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Trust `X-Forwarded-For` from a TLS proxy in front. */
  readonly behindProxy: boolean;
  readonly routes: readonly FastifyPluginAsync[];
  /** Answered before the router: the hot path of gateways. Returns false for what it does not serve. */
  readonly first?: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** The nonce of now, which every answer to a request with a proof tells. Absent: proofs need none. */
  readonly proofNonce?: () => string;
}

const bodyLimit = 64 * 1024;

/** The HTTP application: routes, one error converter, bounded bodies and times. Not listening yet. */
export function createApp(options: AppOptions): FastifyInstance {
  const { first, tls } = options;
  const app = Fastify({
    loggerInstance: options.log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => `req_${randomUUID().replaceAll("-", "").slice(0, 16)}`,
    trustProxy: options.behindProxy,
    bodyLimit,
    routerOptions: { maxParamLength: 128 },
    forceCloseConnections: "idle",
    serverFactory: (handler): Server => {
      const listener: RequestListener =
        first === undefined
          ? handler
          : (request, response) => {
              if (!first(request, response)) handler(request, response);
            };
      const limits = {
        maxHeaderSize: 16 * 1024,
        requestTimeout: 30_000,
        headersTimeout: 10_000,
        keepAliveTimeout: 75_000,
      };
      return tls === undefined
        ? createServer(limits, listener)
        : (createTlsServer(
            { ...limits, cert: tls.cert, key: tls.key, minVersion: "TLSv1.2" },
            listener,
          ) as unknown as Server);
    },
  });
  app.setErrorHandler(problem);
  const { proofNonce } = options;
  if (proofNonce !== undefined) {
    // RFC 9449 §8.2: also with what succeeded, so that the next proof need not be made twice.
    app.addHook("onSend", async (request, reply) => {
      if (request.headers.dpop !== undefined) reply.header("dpop-nonce", proofNonce());
    });
  }
  app.setNotFoundHandler((request) => {
    throw new WayleaveError(
      "not_found",
      `Nothing is served at ${request.method} ${request.url.split("?", 1)[0]?.slice(0, 100)}.`,
    );
  });
  for (const route of options.routes) app.register(route);
  return app;
}
