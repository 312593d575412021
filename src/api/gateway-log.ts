import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { FilePiece, FileTaken } from "../gateway/file-lines.ts";
import { problem } from "./problem.ts";

export interface GatewayLogRouteDeps {
  /** How to take the log of the gateway that a name and a secret prove; undefined for everybody else. */
  gateway(name: string | undefined, secret: string | undefined): ((piece: FilePiece) => Promise<FileTaken>) | undefined;
  /** Told of senders that proved nothing. */
  onUnauthenticated(detail: string): void;
}

/** What an agent sends at a time, at most. */
export const maxPieceBytes = 1024 * 1024;

export const LogQuery = z.strictObject({
  file: z.string().regex(/^[\w.:-]{1,80}$/, "must be 1 to 80 of letters, digits, _ . : and -"),
  offset: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
});

/**
 * `POST /v1/gateway/log?file=&offset=`: bytes of a gateway's JSON log from that offset of that file on, as lines. Answered
 * when what was taken is durable. The gateway is who proves itself by `X-Wayleave-Gateway` and `-Secret`, before the body
 * is read.
 */
export function gatewayLogRoutes(deps: GatewayLogRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.removeAllContentTypeParsers();
    app.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: maxPieceBytes }, (_request, body, done) =>
      done(null, body),
    );
    const takers = new WeakMap<object, (piece: FilePiece) => Promise<FileTaken>>();

    app.post("/v1/gateway/log", {
      onRequest: async (request) => {
        const take = deps.gateway(
          one(request.headers["x-wayleave-gateway"]),
          one(request.headers["x-wayleave-gateway-secret"]),
        );
        if (take === undefined) {
          deps.onUnauthenticated("a log was sent by nobody we know");
          throw new WayleaveError(
            "gateway_unauthenticated",
            "Unknown gateway or wrong secret; see gateways[] and its secret_file.",
          );
        }
        takers.set(request, take);
      },
      handler: async (request): Promise<FileTaken> => {
        const place = LogQuery.safeParse(request.query);
        if (!place.success) {
          const [issue] = place.error.issues;
          throw new WayleaveError(
            "invalid_request",
            `${issue?.path.join(".") || "query"}: ${issue?.message ?? "not understood"}`,
          );
        }
        const take = takers.get(request);
        if (take === undefined) throw new TypeError("onRequest runs first");
        return take({ ...place.data, bytes: request.body instanceof Uint8Array ? request.body : new Uint8Array() });
      },
    });
  };
}

/** A repeated header proves nothing. */
function one(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
