import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from "fastify";
import { asWayleaveError, WayleaveError } from "../core/errors.ts";
import type { ProblemResponse } from "./contract.ts";

/** Any error as `application/problem+json`: the one converter of the management API. @see RFC 9457 */
export function problem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const known = fromFramework(error) ?? asWayleaveError(error);
  logFault(request.log, known);
  const { http } = known.wire;
  const body: ProblemResponse = {
    type: "about:blank",
    title: known.code.replaceAll("_", " "),
    status: http,
    code: known.code,
    detail: known.message,
    request_id: request.id,
  };
  // RFC 9449 §9: how a resource asks for a proof with its nonce.
  if (known.wire.oauth === "use_dpop_nonce") reply.header("www-authenticate", 'DPoP error="use_dpop_nonce"');
  return reply.code(http).type("application/problem+json").send(body);
}

/** What Fastify itself refuses (body limit, media type, malformed JSON) as our error; undefined for everything else. */
export function fromFramework(error: unknown): WayleaveError | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return undefined;
  if (error.code === "FST_ERR_CTP_BODY_TOO_LARGE") {
    return new WayleaveError("payload_too_large", "The request body is larger than this endpoint accepts.", {
      cause: error,
    });
  }
  if (error.code.startsWith("FST_ERR_CTP_") || error.code === "FST_ERR_VALIDATION") {
    return new WayleaveError("invalid_request", "The request body cannot be read; check Content-Type and syntax.", {
      cause: error,
    });
  }
  return undefined;
}

/** Faults are logged with their cause; refusals are answers and are in the audit log where they matter. */
export function logFault(log: FastifyBaseLogger, error: WayleaveError): void {
  if (error.wire.http >= 500) log.error({ code: error.code, err: error.cause ?? error }, error.message);
}
