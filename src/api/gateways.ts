import type { FastifyInstance } from "fastify";
import type { RefusalsDiscovery } from "../gateway/envoy/discovery.ts";
import { maxRequestBytes } from "../gateway/envoy/discovery.ts";
import type { GatewaysResponse } from "../gateway/gateway-summary.ts";
import { problem } from "./problem.ts";

/** Extension config discovery by REST, for gateways that poll: on the public listener. */
export function gatewayDiscoveryRoutes(deps: { readonly discovery: Pick<RefusalsDiscovery, "rest"> }) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.post("/v3/discovery::extension_configs", { bodyLimit: maxRequestBytes }, async (request, reply) => {
      const headers = Object.entries(request.headers).map(([name, value]) => [name, String(value)] as const);
      const { status, body } = deps.discovery.rest(new Map(headers), request.body);
      return reply.code(status).header("cache-control", "no-store").send(body);
    });
  };
}

/** What each gateway enforces: on the operator's socket. */
export function gatewayListRoutes(deps: { gateways(): GatewaysResponse | Promise<GatewaysResponse> }) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.get("/v1/gateways", async () => deps.gateways());
  };
}
