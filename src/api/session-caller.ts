import type { FastifyRequest } from "fastify";
import { WayleaveError } from "../core/errors.ts";
import { sessionIdPattern } from "../core/ids.ts";
import type { Session } from "../session/table.ts";
import { jktOf, type ProofDeps } from "./proof-header.ts";

export interface CallerDeps extends ProofDeps {
  /** The session of a refresh token, with the bound key's thumbprint where one was proven. Throws. */
  byRefreshToken(token: string, jkt: string | undefined, options?: { readonly evenEnded: boolean }): Promise<Session>;
  find(id: string): Session | undefined;
}

/** The session a request speaks for: by refresh token, or by the bound key's proof and the session's id. Throws. */
export async function sessionCaller(deps: CallerDeps, request: FastifyRequest): Promise<Session> {
  const token = bearer(request);
  const jkt = await jktOf(deps, request, token);
  if (token !== undefined) return deps.byRefreshToken(token, jkt);
  const id = request.headers["wayleave-session"];
  const session = typeof id === "string" && sessionIdPattern.test(id) ? deps.find(id) : undefined;
  if (jkt === undefined || session === undefined || session.jkt !== jkt) {
    throw new WayleaveError(
      "credential_invalid",
      "Send the session's refresh token, or its id with a DPoP proof by its key.",
    );
  }
  if (session.view.state === "ended") {
    throw new WayleaveError("session_ended", `Session ${session.id} ended (${session.view.endReason}).`);
  }
  return session;
}

/** As `sessionCaller`, and also for an ended session: a job may read why it was refused after its end. */
export async function sessionOwner(deps: CallerDeps, request: FastifyRequest): Promise<Session> {
  const token = bearer(request);
  if (token === undefined) return sessionCaller(deps, request);
  return deps.byRefreshToken(token, await jktOf(deps, request, token), { evenEnded: true });
}

function bearer(request: FastifyRequest): string | undefined {
  const { authorization } = request.headers;
  if (authorization === undefined) return undefined;
  const match = /^(?:Bearer|DPoP) ([A-Za-z0-9_\-.~+/=]+)$/i.exec(authorization);
  if (match?.[1] === undefined)
    throw new WayleaveError("credential_invalid", "Authorization must be `Bearer <refresh token>`.");
  return match[1];
}
