import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { Session } from "../session/table.ts";
import { problem } from "./problem.ts";
import { type CallerDeps, sessionCaller } from "./session-caller.ts";

/** What a job connects to NATS with. Target and gateway may be left out of the question where the job has but one. */
export interface NatsResponse {
  /** `nats://host:port` or `tls://host:port`. */
  readonly url: string;
  readonly user: string;
  /** With `form: password`. */
  readonly password?: string;
  /** With `form: creds`: the text of a credentials file. */
  readonly creds?: string;
  readonly target: string;
  readonly gateway: string;
  readonly account: string;
  /** First token of the job's own inboxes: what a client may take as its inbox prefix, and need not. */
  readonly inbox: string;
  /** ISO 8601; nothing of this session works after it. */
  readonly expires_at: string;
}

export interface NatsRouteDeps extends CallerDeps {
  /** A credential for the session, its record durable. Throws. */
  natsCredential(
    session: Session,
    asked: z.infer<typeof NatsBody>,
  ): Promise<{
    readonly url: string;
    readonly user: string;
    readonly secret: { readonly password: string } | { readonly creds: string };
    readonly target: string;
    readonly gateway: string;
    readonly account: string;
    readonly inbox: string;
    /** ms since the epoch. */
    readonly expiresAt: number;
  }>;
}

const name = z.string().min(1).max(63).exactOptional();
export const NatsBody = z.strictObject({ target: name, gateway: name, form: z.enum(["password", "creds"]) });

/** Credentials for NATS gateways, for jobs. */
export function natsRoutes(deps: NatsRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);

    app.post("/v1/session/nats", async (request, reply): Promise<NatsResponse> => {
      const session = await sessionCaller(deps, request);
      const body = NatsBody.safeParse(request.body);
      if (!body.success) {
        throw new WayleaveError(
          "invalid_request",
          'Send {"form": "password" or "creds", "target"?: "…", "gateway"?: "…"} as JSON.',
        );
      }
      const { secret, expiresAt, ...rest } = await deps.natsCredential(session, body.data);
      reply.header("cache-control", "no-store");
      return { ...rest, ...secret, expires_at: new Date(expiresAt).toISOString() };
    });
  };
}
