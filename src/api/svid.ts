import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { X509Svid } from "../credential/svid-x509.ts";
import type { BundleDocument } from "../credential/trust-bundle.ts";
import type { SessionSvids } from "../session/svid.ts";
import { problem } from "./problem.ts";
import { type CallerDeps, sessionCaller } from "./session-caller.ts";

/**
 * SVIDs over HTTP. Bytes are base64 of DER; trust domains are names without scheme.
 *
 *   GET  /v1/svid/identities    → SvidIdentitiesResponse
 *   POST /v1/svid/x509          {csr, role?} → X509SvidResponse; `role` where the job has several identities
 *   POST /v1/svid/jwt           {audience: [], spiffe_id?} → JwtSvidResponse; `spiffe_id` likewise
 *   GET  /v1/svid/jwt-bundles   → BundlesResponse, the keys of JWT-SVIDs only
 * authenticated as the other session endpoints are, and
 *   POST /v1/gateway/svid       {csr} → GatewaySvidResponse
 * by `X-Wayleave-Gateway` and `X-Wayleave-Gateway-Secret`, and for everybody
 *   GET  /spiffe/bundle         this trust domain's bundle   GET /spiffe/bundles   BundlesResponse: it and the federated ones
 */
export interface SvidIdentitiesResponse {
  readonly trust_domain: string;
  readonly identities: readonly { readonly spiffe_id: string; readonly role: string; readonly hint: string }[];
  /** Roles that give no SVID now, and why. */
  readonly withheld: readonly { readonly role: string; readonly because: string }[];
}

interface X509Material {
  readonly spiffe_id: string;
  /** Leaf first, without the root. */
  readonly certificates: readonly string[];
  /** Roots of this trust domain. */
  readonly bundle: readonly string[];
  readonly federated_bundles: Readonly<Record<string, readonly string[]>>;
  /** ISO 8601. */
  readonly expires_at: string;
}

export interface X509SvidResponse extends X509Material {
  /** The role. */
  readonly hint: string;
}

export type GatewaySvidResponse = X509Material;

export interface JwtSvidResponse {
  readonly spiffe_id: string;
  readonly svid: string;
  /** The role. */
  readonly hint: string;
  /** ISO 8601. */
  readonly expires_at: string;
}

/** @see SPIFFE Trust Domain and Bundle §4 */
export interface BundlesResponse {
  readonly trust_domains: Readonly<Record<string, BundleDocument>>;
}

export interface SvidRouteDeps extends CallerDeps {
  readonly trustDomain: string;
  readonly svids: SessionSvids;
  /** The name of the gateway that a name and a secret prove; undefined for everybody else. */
  gateway(name: string | undefined, secret: string | undefined): string | undefined;
  gatewaySvid(gateway: string, csr: Uint8Array): Promise<X509Svid>;
  /** Told of senders that proved nothing. */
  onUnauthenticated(detail: string): void;
  /** Roots, DER, by trust domain, its own first. */
  roots(): ReadonlyMap<string, readonly Uint8Array[]>;
  /** Bundles by trust domain, its own first. */
  documents(): ReadonlyMap<string, BundleDocument>;
}

const csr = z
  .string()
  .min(1)
  .max(12 * 1024);
export const X509Body = z.strictObject({ csr, role: z.string().min(1).max(63).optional() });
export const GatewayBody = z.strictObject({ csr });
export const JwtBody = z.strictObject({
  audience: z.array(z.string()),
  spiffe_id: z.string().min(1).max(2048).optional(),
});

/** SVIDs for jobs and gateways, and the bundles to verify them with. */
export function svidRoutes(deps: SvidRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    jobRoutes(app, deps);
    gatewayRoute(app, deps);
    bundleRoutes(app, deps);
  };
}

function jobRoutes(app: FastifyInstance, deps: SvidRouteDeps): void {
  const { svids } = deps;

  app.get("/v1/svid/identities", async (request, reply): Promise<SvidIdentitiesResponse> => {
    const { held, withheld } = svids.identities(await sessionCaller(deps, request));
    private_(reply);
    const identities = held.map(({ spiffeId, role }) => ({ spiffe_id: spiffeId, role, hint: role }));
    return { trust_domain: deps.trustDomain, identities, withheld };
  });

  app.post("/v1/svid/x509", async (request, reply): Promise<X509SvidResponse> => {
    const session = await sessionCaller(deps, request);
    const body = parse(X509Body, request, 'Send {"csr": "<base64 of DER>", "role"?: "<role>"} as JSON.');
    const { role } = body;
    const asked = { csr: bytesOf(body.csr), ...(role === undefined ? {} : { role }) };
    const { identity, certificates, expiresAt } = await svids.x509(session, asked);
    private_(reply);
    return { ...material(deps, { ...identity, certificates, expiresAt }), hint: identity.role };
  });

  app.post("/v1/svid/jwt", async (request, reply): Promise<JwtSvidResponse> => {
    const session = await sessionCaller(deps, request);
    const body = parse(JwtBody, request, 'Send {"audience": ["<who will verify it>"], "spiffe_id"?: "…"} as JSON.');
    const { audience, spiffe_id: spiffeId } = body;
    const asked = { audience, ...(spiffeId === undefined ? {} : { spiffeId }) };
    const { identity, token, expiresAt } = await svids.jwt(session, asked);
    private_(reply);
    return {
      spiffe_id: identity.spiffeId,
      svid: token,
      hint: identity.role,
      expires_at: new Date(expiresAt).toISOString(),
    };
  });

  app.get("/v1/svid/jwt-bundles", async (request): Promise<BundlesResponse> => {
    await sessionCaller(deps, request);
    const documents = [...deps.documents()].map(([name, document]) => [name, jwtOnly(document)] as const);
    return { trust_domains: Object.fromEntries(documents) };
  });
}

function gatewayRoute(app: FastifyInstance, deps: SvidRouteDeps): void {
  app.post("/v1/gateway/svid", async (request, reply): Promise<GatewaySvidResponse> => {
    const { "x-wayleave-gateway": name, "x-wayleave-gateway-secret": secret } = request.headers;
    const gateway = deps.gateway(one(name), one(secret));
    if (gateway === undefined) {
      deps.onUnauthenticated("a certificate was asked for by nobody we know");
      throw new WayleaveError(
        "gateway_unauthenticated",
        "Unknown gateway or wrong secret; see gateways[] and its secret_file.",
      );
    }
    const body = parse(GatewayBody, request, 'Send {"csr": "<base64 of DER>"} as JSON.');
    const svid = await deps.gatewaySvid(gateway, bytesOf(body.csr));
    private_(reply);
    return material(deps, svid);
  });
}

/** As the keys of a JWKS endpoint: a revocation must not wait in a cache for longer than the refresh hint. */
const bundleCache = "public, max-age=60";

function bundleRoutes(app: FastifyInstance, deps: SvidRouteDeps): void {
  app.get("/spiffe/bundle", async (_request, reply) => {
    const own = deps.documents().get(deps.trustDomain);
    return reply.header("cache-control", bundleCache).type("application/json").send(own);
  });
  app.get("/spiffe/bundles", async (_request, reply) => {
    const answer: BundlesResponse = { trust_domains: Object.fromEntries(deps.documents()) };
    return reply.header("cache-control", bundleCache).type("application/json").send(answer);
  });
}

function material(
  deps: SvidRouteDeps,
  svid: { readonly spiffeId: string; readonly certificates: readonly Uint8Array[]; readonly expiresAt: number },
): X509Material {
  const { [deps.trustDomain]: bundle = [], ...federated } = rootTexts(deps.roots());
  return {
    spiffe_id: svid.spiffeId,
    certificates: svid.certificates.map(base64),
    bundle,
    federated_bundles: federated,
    expires_at: new Date(svid.expiresAt).toISOString(),
  };
}

function rootTexts(roots: ReadonlyMap<string, readonly Uint8Array[]>): Record<string, readonly string[]> {
  return Object.fromEntries([...roots].map(([name, certificates]) => [name, certificates.map(base64)]));
}

function jwtOnly({ keys, ...rest }: BundleDocument): BundleDocument {
  return { ...rest, keys: keys.filter(({ use }) => use === "jwt-svid") };
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

/** Refuses what is not base64 in its one usual form, which `Buffer` would read around. */
function bytesOf(text: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text)
    throw new WayleaveError("csr_invalid", "`csr` is not base64; send the DER of a PKCS #10 request, encoded once.");
  return bytes;
}

/** What a cache must not keep. */
function private_(reply: FastifyReply): void {
  reply.header("cache-control", "no-store");
}

function parse<T>(schema: z.ZodType<T>, request: FastifyRequest, usage: string): T {
  const body = schema.safeParse(request.body);
  if (body.success) return body.data;
  throw new WayleaveError("invalid_request", usage);
}

/** A repeated header proves nothing. */
function one(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
