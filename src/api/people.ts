import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { OperatorSignedIn } from "../core/operator-record.ts";
import { covers } from "../core/person.ts";
import type { SignIns } from "../people/sign-ins.ts";
import type { MeResponse, SignInOptions, SignInResponse, SignInSummary, SignInsResponse } from "./contract.ts";
import { operatorAccess } from "./operator-access.ts";
import { type OperatorCaller, operatorCaller } from "./operator-caller.ts";
import { problem } from "./problem.ts";
import { jktOf, type ProofDeps } from "./proof-header.ts";

export interface SignInRouteDeps extends ProofDeps {
  readonly options: SignInOptions;
  readonly signIns: Pick<SignIns, "byIdToken" | "byBootstrap">;
  /** Somebody was not let in, before a token was looked at. Must not throw. */
  onRefused(error: unknown, from: string): void;
}

export const SignInBody = z.union([
  z.strictObject({ id_token: z.string().min(1) }),
  z.strictObject({ bootstrap_token: z.string().min(1).max(200) }),
]);

/** Signing in, on the public listener: nobody is known here yet. */
export function signInRoutes(deps: SignInRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);

    app.get("/v1/sign-in", async (): Promise<SignInOptions> => deps.options);

    app.post("/v1/sign-in", async (request, reply): Promise<SignInResponse> => {
      reply.header("cache-control", "no-store");
      const { body, asker } = await asked(deps, request).catch((error: unknown) => {
        deps.onRefused(error, request.ip);
        throw error;
      });
      const opened =
        "id_token" in body
          ? await deps.signIns.byIdToken(body.id_token, asker)
          : await deps.signIns.byBootstrap(body.bootstrap_token, asker);
      return { ...signInSummary(opened.signIn), token: opened.token };
    });
  };
}

/** Who wants to sign in, by which token and key. */
async function asked(deps: SignInRouteDeps, request: FastifyRequest) {
  const body = SignInBody.safeParse(request.body);
  if (!body.success)
    throw new WayleaveError("invalid_request", 'Send {"id_token": "…"} or {"bootstrap_token": "…"} as JSON.');
  const token = "id_token" in body.data ? body.data.id_token : body.data.bootstrap_token;
  const jkt = await jktOf(deps, request, token);
  if (jkt === undefined) {
    throw new WayleaveError(
      "proof_invalid",
      "A sign-in is bound to a key: send a DPoP proof whose `ath` names the token.",
    );
  }
  return { body: body.data, asker: { jkt, from: request.ip } };
}

/** Who a request of the public listener speaks for: a sign-in's token and its key's proof. Throws. */
export async function signedInCaller(
  deps: ProofDeps & { readonly signIns: Pick<SignIns, "caller"> },
  request: FastifyRequest,
): Promise<OperatorCaller> {
  const token = operatorToken(request);
  const jkt = token === undefined ? undefined : await jktOf(deps, request, token);
  if (token === undefined || jkt === undefined) {
    throw new WayleaveError(
      "sign_in_required",
      "Send `Authorization: DPoP <token of the sign-in>` and a DPoP proof by its key. Sign in with `wayleave login`.",
    );
  }
  const signIn = deps.signIns.caller(token, jkt);
  return { who: signIn.who, roles: signIn.roles, signIn };
}

/** The token of a sign-in that a request presents, whoever it is. */
export function operatorToken(request: FastifyRequest): string | undefined {
  return /^DPoP (wlo_[A-Za-z0-9_-]{43})$/i.exec(request.headers.authorization ?? "")?.[1];
}

/** Who one is, and who else is signed in: on the operators' side. `signIns` is absent where nobody can sign in. */
export function peopleRoutes({ signIns }: { readonly signIns: Pick<SignIns, "list" | "end"> | undefined }) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);

    app.get("/v1/me", async (request): Promise<MeResponse> => {
      const { who, roles, signIn } = operatorCaller(request);
      const rows = Object.values(operatorAccess).filter(({ role }) => covers(roles, role));
      return {
        who,
        roles,
        ...(signIn === undefined ? {} : signInSummary(signIn)),
        may: rows.map(({ action }) => action),
      };
    });

    app.post("/v1/sign-out", async (request, reply) => {
      const { who, signIn } = operatorCaller(request);
      if (signIn === undefined) throw new WayleaveError("invalid_request", "Nobody signs in on the socket, nor out.");
      await signIns?.end(signIn.sign_in, who);
      return reply.code(204).send();
    });

    app.get(
      "/v1/sign-ins",
      async (): Promise<SignInsResponse> => ({
        sign_ins: signIns?.list().map(signInSummary) ?? [],
      }),
    );

    app.post<{ Params: { id: string } }>("/v1/sign-ins/:id/end", async (request, reply) => {
      if (signIns === undefined) throw new WayleaveError("not_found", "Nobody can sign in here: add `people:`.");
      await signIns.end(request.params.id, operatorCaller(request).who);
      return reply.code(204).send();
    });
  };
}

function signInSummary({ sign_in: id, who, roles, expires_at: until, from }: OperatorSignedIn): SignInSummary {
  return {
    sign_in: id,
    who,
    roles,
    expires_at: new Date(until).toISOString(),
    ...(from === undefined ? {} : { from }),
  };
}
