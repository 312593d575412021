import type { FastifyReply, FastifyRequest } from "fastify";
import { asWayleaveError } from "../core/errors.ts";
import type { OAuthErrorResponse } from "./contract.ts";
import { fromFramework, logFault } from "./problem.ts";

/**
 * Any error as token-endpoint JSON: refusals 400 (401 only for `invalid_client`, 429 for what a later try may get), faults
 * 500/503. `record` is the id of the refusal's record, where there is one.
 *
 * @see RFC 6749 §5.2
 */
export function oauthError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  record?: string,
): FastifyReply {
  const known = fromFramework(error) ?? asWayleaveError(error);
  logFault(request.log, known);
  const { oauth, http } = known.wire;
  const status = http >= 500 || http === 429 ? http : oauth === "invalid_client" ? 401 : 400;
  if (known.retryAfterSeconds !== undefined) reply.header("retry-after", String(known.retryAfterSeconds));
  const body: OAuthErrorResponse = {
    error: oauth,
    error_description: ascii(known.message),
    code: known.code,
    ...(record === undefined ? {} : { record }),
  };
  return reply.code(status).header("cache-control", "no-store").header("pragma", "no-cache").send(body);
}

/** `error_description` allows %x20-21 / %x23-5B / %x5D-7E only. */
function ascii(text: string): string {
  return text
    .replaceAll('"', "'")
    .replaceAll("\\", "/")
    .replaceAll(/[^\x20-\x7e]/g, "?");
}
