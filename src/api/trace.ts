import type { FastifyRequest } from "fastify";

/** The W3C trace id of a request, where it carries a well-formed `traceparent`. */
export function traceOf(request: FastifyRequest): string | undefined {
  const { traceparent } = request.headers;
  if (typeof traceparent !== "string") return undefined;
  return /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/.exec(traceparent)?.[1];
}
