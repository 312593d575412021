import type { Operation } from "../core/target.ts";

/** One readable line for an operation, as records and refusals show it. Bounded; queries are never part of it. */
export function operationText(operation: Operation): string {
  if (operation.kind === "http") return `${operation.method} ${operation.path}`.slice(0, 512);
  if (operation.kind === "nats") return `${operation.verb} ${operation.subject}`.slice(0, 512);
  return operation.verb;
}

/** The token of a Bearer credential (RFC 6750 §2.1), or undefined for no credential or another scheme. */
export function bearerOf(authorization: string | undefined): string | undefined {
  if (authorization === undefined || authorization.length < 8) return undefined;
  if (authorization.slice(0, 7).toLowerCase() !== "bearer ") return undefined;
  return authorization.slice(7).trim();
}
