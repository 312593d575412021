import { randomBytes } from "node:crypto";
import { createDeliveries, type Delivery } from "../gitlab/deliveries.ts";
import {
  type Answer,
  type ListenOptions,
  listen,
  type Outage,
  type Request,
  type RequestLine,
} from "../gitlab/listener.ts";
import { findRoute, type Route } from "../gitlab/router.ts";
import { createSigningKey, type SigningKey } from "../gitlab/signing-key.ts";
import {
  type BuildOptions,
  cancelJob,
  createPipeline,
  finishCancel,
  finishJob,
  isOver,
  type PipelineOptions,
  retryJob,
  startBuild,
  startJob,
} from "./builds.ts";
import { type OidcRequest, oidcClaims, refusalOf } from "./oidc-token.ts";
import { type ApiFault, answerRest } from "./rest.ts";
import type { Build, BuildkiteEvent, Job, Pipeline, World } from "./types.ts";
import { uuidV7 } from "./uuid-v7.ts";
import { webhookBody } from "./views.ts";
import { webhookSignature } from "./webhook-signature.ts";

export interface BuildkiteOptions extends ListenOptions {
  /** Milliseconds since the epoch: the only clock of the simulator. */
  readonly now: () => number;
  /** Slug of the organization. Default `acme`. */
  readonly organization?: string;
  /** Where others reach it when that is not the bound address. It is the issuer, exactly. */
  readonly externalUrl?: string;
  /** PEM of the CA that signed the certificates of HTTPS webhook receivers. */
  readonly hookCa?: string;
}

export interface WebhookOptions {
  readonly url: string;
  readonly token: string;
  /** `signature` signs with the token, `token` (as by default in Buildkite) sends it as it is; never both. */
  readonly auth: "signature" | "token";
  /** Default: all three. */
  readonly events?: readonly BuildkiteEvent["name"][];
}

/** One simulated Buildkite: agent API, REST and issuer at one address, which in the real one are three. */
export interface Buildkite {
  /** The `iss` of every token, without a trailing slash. */
  readonly issuer: string;
  /** Where it listens: `issuer` unless that was configured. `<localUrl>/v3` is the agent endpoint. */
  readonly localUrl: string;
  readonly organization: { readonly id: string; readonly slug: string };
  readonly requests: readonly RequestLine[];
  createPipeline(options: PipelineOptions): Pipeline;
  startBuild(pipeline: Pipeline, options: BuildOptions): Build;
  startJob(job: Job): void;
  finishJob(job: Job, exitStatus?: number): void;
  cancelJob(job: Job): void;
  finishCancel(job: Job): void;
  retryJob(job: Job): Job;
  /** What the agent endpoint would give the job now. `overrides` replaces claims, or with `undefined` leaves them out:
   *  only for tokens the real one would not sign. TypeError when the job does not run or the request is refused. */
  oidcToken(job: Job, request?: OidcRequest, overrides?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Replaces the signing key; the old one leaves the JWKS at once. */
  rotateKey(): Promise<void>;
  setReachable(reachable: boolean, how?: Outage): void;
  /** Makes every REST request fail, until called with `undefined`. */
  setApiFault(fault: ApiFault | undefined): void;
  /** A REST token; `read_builds` unless said. */
  createApiToken(scopes?: readonly string[]): string;
  addWebhook(options: WebhookOptions): void;
  readonly deliveries: readonly Delivery[];
  holdHooks(): void;
  releaseHooks(arrange?: (held: readonly Delivery[]) => readonly Delivery[]): Promise<void>;
  redeliver(delivery: Delivery): Promise<void>;
  /** Resolves when no delivery is under way; held ones stay held. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** Starts a Buildkite in this process, with one organization. */
export async function startBuildkite(options: BuildkiteOptions): Promise<Buildkite> {
  const { now } = options;
  const key = await createSigningKey({ typ: false, kid: (print) => Buffer.from(print, "base64url").toString("hex") });
  const deliveries = createDeliveries(options.hookCa);
  const webhooks: WebhookOptions[] = [];
  const apiTokens = new Map<string, readonly string[]>();
  const dispatch = (event: BuildkiteEvent) => {
    const body = JSON.stringify(webhookBody(event, issuer));
    for (const hook of webhooks)
      if (hook.events?.includes(event.name) ?? true)
        deliveries.enqueue({
          url: hook.url,
          event: event.name,
          body,
          makeHeaders: () => headersOf(hook, event, body, now()),
        });
  };
  const world: World = {
    organization: { id: uuidV7(now()), slug: options.organization ?? "acme" },
    now,
    emit: dispatch,
    pipelines: new Map(),
    builds: [],
    jobs: new Map(),
  };
  let fault: ApiFault | undefined;
  const listener = await listen(options, (request) => {
    if (request.path.startsWith("/v2/")) return answerRest({ world, apiTokens, issuer }, fault, request);
    const found = findRoute(routes, request.method, request.path);
    if (!found) return notFound;
    return found.route.handle({ world, key, issuer }, found.params, request);
  });
  const issuer = options.externalUrl ?? listener.origin;
  return {
    issuer,
    localUrl: listener.origin,
    organization: world.organization,
    requests: listener.requests,
    createPipeline: (pipeline) => createPipeline(world, pipeline),
    startBuild: (pipeline, build) => startBuild(world, pipeline, build),
    startJob: (job) => startJob(world, job),
    finishJob: (job, exitStatus) => finishJob(world, job, exitStatus),
    cancelJob: (job) => cancelJob(world, job),
    finishCancel: (job) => finishCancel(world, job),
    retryJob: (job) => retryJob(world, job),
    oidcToken: async (job, request = {}, overrides = {}) => {
      const refusal = job.startedAt === undefined || isOver(job) ? "the job does not run" : refusalOf(request);
      if (refusal !== undefined) throw new TypeError(refusal);
      return key.sign({ ...claimsNow(job, request, { world, issuer }), ...overrides });
    },
    rotateKey: () => key.rotate(),
    setReachable: (reachable, how = "bad_gateway") => listener.setOutage(reachable ? undefined : how),
    createApiToken: (scopes = ["read_builds"]) => {
      const token = `bkua_${randomBytes(20).toString("hex")}`;
      apiTokens.set(token, scopes);
      return token;
    },
    setApiFault: (next) => {
      fault = next;
    },
    addWebhook: (hook) => void webhooks.push(hook),
    deliveries: deliveries.all,
    holdHooks: deliveries.hold,
    releaseHooks: deliveries.release,
    redeliver: deliveries.redeliver,
    flush: deliveries.flush,
    close: async () => {
      await Promise.all([listener.close(), deliveries.close()]);
    },
  };
}

interface Context {
  readonly world: World;
  readonly key: SigningKey;
  readonly issuer: string;
}

const notFound: Answer = { status: 404, body: { message: "Not Found" } };

const routes: readonly Route<Context>[] = [
  {
    method: "GET",
    pattern: "/.well-known/openid-configuration",
    handle: ({ issuer }) => ({ status: 200, body: discovery(issuer) }),
  },
  {
    method: "GET",
    pattern: "/.well-known/jwks",
    handle: ({ key }) => ({ status: 200, body: { keys: [key.jwk] } }),
  },
  { method: "POST", pattern: "/v3/jobs/:id/oidc/tokens", handle: answerToken },
];

async function answerToken(
  context: Context,
  params: Readonly<Record<string, string>>,
  request: Request,
): Promise<Answer> {
  const job = context.world.jobs.get(params.id ?? "");
  // The access token belongs to the job and dies with it, so another job's token is no better than none.
  if (
    !job ||
    request.headers.authorization !== `Token ${job.accessToken}` ||
    job.startedAt === undefined ||
    isOver(job)
  )
    return { status: 401, body: { message: "Invalid access token" } };
  const wanted = parseRequest(request.body);
  if (!wanted) return { status: 400, body: { message: "Invalid JSON" } };
  const refusal = refusalOf(wanted);
  if (refusal !== undefined) return { status: 422, body: { message: refusal } };
  return { status: 200, body: { token: await context.key.sign(claimsNow(job, wanted, context)) } };
}

function parseRequest(body: string): OidcRequest | undefined {
  try {
    const parsed: unknown = JSON.parse(body || "{}");
    return typeof parsed === "object" && parsed !== null ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function claimsNow(job: Job, request: OidcRequest, { world, issuer }: Pick<Context, "world" | "issuer">) {
  const ms = world.now();
  return oidcClaims(job, request, { issuer, iatSeconds: Math.floor(ms / 1000), jti: uuidV7(ms) });
}

function discovery(issuer: string) {
  return {
    issuer,
    jwks_uri: `${issuer}/.well-known/jwks`,
    response_types_supported: ["id_token"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
  };
}

function headersOf(hook: WebhookOptions, event: BuildkiteEvent, body: string, nowMs: number): Record<string, string> {
  return {
    "Content-Type": "application/json",
    "User-Agent": "Buildkite-Request",
    "X-Buildkite-Event": event.name,
    ...(hook.auth === "token"
      ? { "X-Buildkite-Token": hook.token }
      : { "X-Buildkite-Signature": webhookSignature(hook.token, Math.floor(nowMs / 1000), body) }),
  };
}
