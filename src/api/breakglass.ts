import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { breakglassDataSchemas } from "../audit/breakglass-record-schema.ts";
import type { BreakglassUse } from "../core/breakglass-record.ts";
import { WayleaveError } from "../core/errors.ts";
import { problem } from "./problem.ts";

export interface BreakglassRouteDeps {
  /** How to take the uses of the gateway that a name and a secret prove; undefined for everybody else. */
  gateway(
    name: string | undefined,
    secret: string | undefined,
  ): ((uses: readonly BreakglassUse[]) => Promise<void>) | undefined;
  /** Told of senders that proved nothing. */
  onUnauthenticated(detail: string): void;
}

/** What a responder sends at a time, at most. */
const maxUses = 200;
const Uses = z.strictObject({ uses: z.array(breakglassDataSchemas["breakglass.used"]).min(1).max(maxUses) });

/** `POST /v1/gateway/breakglass`: what was written down while the broker was away. Answered when it is durable, each use once. */
export function breakglassRoutes(deps: BreakglassRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.post("/v1/gateway/breakglass", { bodyLimit: 1024 * 1024 }, async (request) => {
      const header = (name: string) => {
        const value = request.headers[name];
        return typeof value === "string" ? value : undefined;
      };
      const take = deps.gateway(header("x-wayleave-gateway"), header("x-wayleave-gateway-secret"));
      if (take === undefined) {
        deps.onUnauthenticated("uses of break-glass were sent by nobody we know");
        throw new WayleaveError(
          "gateway_unauthenticated",
          "Unknown gateway or wrong secret; see gateways[] and its secret_file.",
        );
      }
      const read = Uses.safeParse(request.body);
      if (!read.success) {
        throw new WayleaveError("invalid_request", `${read.error.issues[0]?.path.join(".") || "body"}: not understood`);
      }
      await take(read.data.uses as readonly BreakglassUse[]);
      return { taken: read.data.uses.length };
    });
  };
}
