import type { FastifyInstance } from "fastify";

export interface DiscoveryDeps {
  readonly issuerUrl: string;
  readonly accessTokenJwks: unknown;
  readonly assertionJwks: unknown;
}

/** Gateways may keep keys this long; never `no-cache`, which makes verifiers fail under load. */
const jwksCache = "public, max-age=300";

/** RFC 8414 metadata and one JWKS per token class. */
export function discoveryRoutes(deps: DiscoveryDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    const { issuerUrl } = deps;
    const metadata = {
      issuer: issuerUrl,
      token_endpoint: `${issuerUrl}/oauth2/token`,
      revocation_endpoint: `${issuerUrl}/oauth2/revoke`,
      jwks_uri: `${issuerUrl}/oauth2/jwks`,
      grant_types_supported: ["urn:ietf:params:oauth:grant-type:token-exchange", "refresh_token"],
      token_endpoint_auth_methods_supported: ["none"],
      revocation_endpoint_auth_methods_supported: ["none"],
      dpop_signing_alg_values_supported: ["ES256"],
      // RFC 8414 requires the member; there is no authorization endpoint.
      response_types_supported: [],
      wayleave_assertion_jwks_uri: `${issuerUrl}/assertion/jwks`,
    };
    app.get("/.well-known/oauth-authorization-server", async (_request, reply) =>
      reply.header("cache-control", jwksCache).send(metadata),
    );
    app.get("/oauth2/jwks", async (_request, reply) =>
      reply.header("cache-control", jwksCache).type("application/jwk-set+json").send(deps.accessTokenJwks),
    );
    app.get("/assertion/jwks", async (_request, reply) =>
      reply.header("cache-control", jwksCache).type("application/jwk-set+json").send(deps.assertionJwks),
    );
  };
}
