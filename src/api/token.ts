import type { FastifyInstance, FastifyRequest } from "fastify";
import { awsProofPrefix, awsProofType } from "../core/aws-proof.ts";
import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import { type AuditEvent, recordJob } from "../core/record.ts";
import type { Narrowing } from "../core/session.ts";
import type { ExchangeRequest } from "../session/exchange.ts";
import type { Issued } from "../session/issue.ts";
import type { RefreshRequest } from "../session/refresh.ts";
import type { Session } from "../session/table.ts";
import type { TokenResponse } from "./contract.ts";
import { Form, readForm } from "./form.ts";
import { oauthError } from "./oauth-error.ts";
import { jktOf, type ProofDeps } from "./proof-header.ts";
import { traceOf } from "./trace.ts";

export interface TokenRouteDeps extends ProofDeps {
  readonly now: () => number;
  exchange(request: ExchangeRequest): Promise<Issued>;
  refresh(request: RefreshRequest): Promise<Issued>;
  /** RFC 7009: ends what the token stands for; unknown tokens are no error. */
  revoke(token: string, jkt: string | undefined): Promise<void>;
  /** Records a refused exchange or refresh; the id goes into the error. */
  note(event: AuditEvent): string;
  /** The session that a refresh token is or was of, for the record of its refusal. */
  ownerOf(refreshToken: string): Session | undefined;
  fingerprint(token: string): string;
  /** What the job can reach with these targets, for the response. */
  targets(names: readonly string[], identity: JobIdentity): TokenResponse["targets"];
  /** SPIFFE ID of the runner that a JWT-SVID proves. Throws `credential_invalid` and `spiffe_id_refused`. */
  runner(svid: string): Promise<string>;
  /** Target names whose hosts a `resource` URI names, for this deployment. Throws `invalid_target`. */
  targetOfResource(uri: string): string;
}

const clientAssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange";
const accessTokenType = "urn:ietf:params:oauth:token-type:access_token";
const subjectTokenTypes: readonly string[] = [
  "urn:ietf:params:oauth:token-type:id_token",
  "urn:ietf:params:oauth:token-type:jwt",
];

/** `POST /oauth2/token` (RFC 8693, RFC 6749 §6) and `POST /oauth2/revoke` (RFC 7009). */
export function tokenRoutes(deps: TokenRouteDeps) {
  /** The record of each refusal that has one, until it is answered. */
  const recorded: Recorded = new WeakMap();

  return async (app: FastifyInstance): Promise<void> => {
    readForm(app);
    app.setErrorHandler((error: Error, request, reply) => oauthError(error, request, reply, recorded.get(error)));

    app.post("/oauth2/token", async (request, reply) => {
      const form = Form.of(request.body);
      const issued = await grant(deps, recorded, request, form);
      return reply.header("cache-control", "no-store").header("pragma", "no-cache").send(tokenResponse(deps, issued));
    });

    app.post("/oauth2/revoke", async (request, reply) => {
      const token = Form.of(request.body).required("token");
      await deps.revoke(token, await jktOf(deps, request));
      return reply.header("cache-control", "no-store").code(200).send();
    });
  };
}

type Recorded = WeakMap<Error, string>;

async function grant(deps: TokenRouteDeps, recorded: Recorded, request: FastifyRequest, form: Form): Promise<Issued> {
  const type = form.one("grant_type");
  if (type === exchangeGrant) return exchange(deps, recorded, request, form);
  if (type !== "refresh_token") refuseGrant(type);
  return refresh(deps, recorded, request, form);
}

async function refresh(deps: TokenRouteDeps, recorded: Recorded, request: FastifyRequest, form: Form): Promise<Issued> {
  const refreshToken = form.required("refresh_token");
  try {
    return await deps.refresh({
      refreshToken,
      narrowing: narrowing(deps, form),
      jkt: await jktOf(deps, request),
    });
  } catch (error) {
    if (worthRecording(error)) {
      const owner = deps.ownerOf(refreshToken);
      const { code, message: detail } = error;
      const data = { code, detail, token: deps.fingerprint(refreshToken), from: request.ip };
      const who = owner === undefined ? {} : { session: owner.id, job: recordJob(owner.identity) };
      const trace = traceOf(request);
      recorded.set(
        error,
        deps.note({ kind: "refresh.refused", ...who, ...(trace === undefined ? {} : { trace }), data }),
      );
    }
    throw error;
  }
}

/** Every refusal but the one that only asks for a nonce, as each first proof is. */
function worthRecording(error: unknown): error is WayleaveError {
  return error instanceof WayleaveError && error.code !== "proof_nonce_required";
}

async function exchange(
  deps: TokenRouteDeps,
  recorded: Recorded,
  request: FastifyRequest,
  form: Form,
): Promise<Issued> {
  const subjectToken = form.required("subject_token");
  const trace = traceOf(request);
  try {
    refuseTypes(form);
    const svid = clientAssertion(form);
    return await deps.exchange({
      subjectToken,
      ...(svid === undefined ? {} : { runner: await deps.runner(svid) }),
      narrowing: narrowing(deps, form),
      jkt: await jktOf(deps, request),
      idempotencyKey: idempotencyKey(request),
      from: request.ip,
      trace,
    });
  } catch (error) {
    if (worthRecording(error)) {
      const { code, message: detail } = error;
      const data = { code, detail, token: deps.fingerprint(subjectToken), from: request.ip };
      recorded.set(error, deps.note({ kind: "exchange.refused", ...(trace === undefined ? {} : { trace }), data }));
    }
    throw error;
  }
}

function narrowing(deps: TokenRouteDeps, form: Form): Narrowing {
  const targets = [...form.all("audience"), ...form.all("resource").map((uri) => deps.targetOfResource(uri))];
  const scope = form.one("scope");
  return {
    ...(targets.length === 0 ? {} : { targets }),
    ...(scope === undefined ? {} : { roles: scope.split(" ").filter((role) => role !== "") }),
  };
}

function tokenResponse(deps: TokenRouteDeps, issued: Issued): TokenResponse {
  return {
    access_token: issued.accessToken,
    issued_token_type: accessTokenType,
    token_type: issued.bound ? "DPoP" : "Bearer",
    expires_in: Math.max(0, Math.floor((issued.expiresAt - deps.now()) / 1000)),
    scope: issued.roles.join(" "),
    refresh_token: issued.refreshToken,
    session_id: issued.session.id,
    session_expires_at: new Date(issued.session.hardEndAt).toISOString(),
    record: issued.record,
    targets: deps.targets(issued.targets, issued.session.identity),
    ...(issued.proofTargets.length === 0
      ? {}
      : { proof_targets: deps.targets(issued.proofTargets, issued.session.identity) }),
  };
}

function refuseGrant(grant: string | undefined): never {
  throw new WayleaveError(
    "unsupported_grant_type",
    `${grant === undefined ? "There is no grant_type" : "This grant_type is not supported"}; use ${exchangeGrant} or refresh_token.`,
  );
}

/** @see RFC 8693 §2.1 */
function refuseTypes(form: Form): void {
  const type = form.required("subject_token_type");
  const signed = form.required("subject_token").startsWith(awsProofPrefix);
  const types = signed ? [awsProofType] : subjectTokenTypes;
  if (!types.includes(type)) {
    throw new WayleaveError("invalid_request", `subject_token_type must be ${types.join(" or ")} for this token.`);
  }
  if (form.one("actor_token") !== undefined) {
    throw new WayleaveError("invalid_request", "actor_token is not supported; leave it out.");
  }
  const wanted = form.one("requested_token_type");
  if (wanted !== undefined && wanted !== accessTokenType) {
    throw new WayleaveError("invalid_request", `requested_token_type must be ${accessTokenType}.`);
  }
}

/** The runner's own JWT-SVID. @see RFC 7521 §4.2, draft-ietf-oauth-spiffe-client-auth */
function clientAssertion(form: Form): string | undefined {
  const type = form.one("client_assertion_type");
  if (type === undefined && form.one("client_assertion") === undefined) return undefined;
  if (type !== clientAssertionType) {
    throw new WayleaveError("invalid_request", `client_assertion_type must be ${clientAssertionType}.`);
  }
  return form.required("client_assertion");
}

function idempotencyKey(request: FastifyRequest): string | undefined {
  const key = request.headers["idempotency-key"];
  if (key === undefined) return undefined;
  if (typeof key !== "string" || !/^[\x21-\x7e]{16,128}$/.test(key)) {
    throw new WayleaveError(
      "invalid_request",
      "Idempotency-Key must be 16 to 128 printable characters; use at least 128 random bits.",
    );
  }
  return key;
}
