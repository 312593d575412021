import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { NatsAdminResponse } from "./contract.ts";
import { operatorText } from "./operator-caller.ts";
import { problem } from "./problem.ts";

export interface NatsOperatorRouteDeps {
  /** Throws `not_found` and `render_refused`. */
  render(
    gateway: string,
    request: {
      readonly dataDirectory?: string;
      readonly certificate?: { readonly certFile: string; readonly keyFile: string };
      readonly fragments?: boolean;
    },
  ): Promise<object>;
  status(): Promise<object>;
  /** Its record durable first. Throws `not_found`, `invalid_request` and `nats_unavailable`. */
  admin(
    gateway: string,
    request: { readonly account: string; readonly ttlMs: number; readonly by: string },
  ): Promise<{ readonly creds: string; readonly key: string; readonly url: string; readonly expiresAt: number }>;
}

/** An hour is enough to make streams, and short enough to be lost. */
const longestAdminSeconds = 3_600;
export const AdminBody = z.strictObject({
  account: z.string().min(1).max(64),
  ttl_seconds: z.int().min(60).max(longestAdminSeconds),
});

const path = z.string().min(1).max(4096).exactOptional();
export const RenderQuery = z.strictObject({
  data: path,
  tls_cert: path,
  tls_key: path,
  fragments: z.literal("true").exactOptional(),
});

/**
 *   GET  /v1/nats                          NatsStatusResponse
 *   GET  /v1/gateways/<name>/nats          configuration of the nats-servers behind a gateway
 *   POST /v1/gateways/<name>/nats/admins   {account, ttl_seconds} → NatsAdminResponse
 * on the operators' socket only.
 */
export function natsOperatorRoutes(deps: NatsOperatorRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);

    app.get("/v1/nats", async () => deps.status());

    app.get<{ Params: { name: string } }>("/v1/gateways/:name/nats", async (request) => {
      const query = RenderQuery.safeParse(request.query);
      if (!query.success)
        throw new WayleaveError("invalid_request", "The query takes data, tls_cert, tls_key and fragments=true.");
      return deps.render(request.params.name, requestOf(query.data));
    });

    app.post<{ Params: { name: string } }>(
      "/v1/gateways/:name/nats/admins",
      async (request): Promise<NatsAdminResponse> => {
        const body = AdminBody.safeParse(request.body);
        if (!body.success)
          throw new WayleaveError("invalid_request", 'Send {"account": "…", "ttl_seconds": 60 to 3600} as JSON.');
        const { account, ttl_seconds: seconds } = body.data;
        const { expiresAt, ...rest } = await deps.admin(request.params.name, {
          account,
          ttlMs: seconds * 1000,
          by: operatorText(request),
        });
        return { ...rest, expires_at: new Date(expiresAt).toISOString() };
      },
    );
  };
}

function requestOf({ data, tls_cert: certFile, tls_key: keyFile, fragments }: z.infer<typeof RenderQuery>) {
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const detail = "A certificate needs its key: give both tls_cert and tls_key, or neither.";
    throw new WayleaveError("invalid_request", detail);
  }
  return {
    ...(data === undefined ? {} : { dataDirectory: data }),
    ...(certFile === undefined || keyFile === undefined ? {} : { certificate: { certFile, keyFile } }),
    ...(fragments === undefined ? {} : { fragments: true }),
  };
}
