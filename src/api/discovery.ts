import type { FastifyInstance } from "fastify";

export interface DiscoveryDeps {
  readonly issuerUrl: string;
  /** Key sets, read anew for each answer: what is published changes. */
  readonly accessTokenJwks: unknown;
  readonly assertionJwks: unknown;
  readonly jwtSvidJwks?: unknown;
  /** How long a key set may be kept, seconds: at most what the windows of key rotation count with. Default 300. */
  readonly maxAgeSeconds?: number;
}

/** RFC 8414 metadata and one JWKS per token class. Never `no-cache`, which makes verifiers fail under load. */
export function discoveryRoutes(deps: DiscoveryDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    const { issuerUrl } = deps;
    const jwksCache = `public, max-age=${deps.maxAgeSeconds ?? 300}`;
    const metadata = {
      issuer: issuerUrl,
      token_endpoint: `${issuerUrl}/oauth2/token`,
      revocation_endpoint: `${issuerUrl}/oauth2/revoke`,
      introspection_endpoint: `${issuerUrl}/oauth2/introspect`,
      jwks_uri: `${issuerUrl}/oauth2/jwks`,
      grant_types_supported: ["urn:ietf:params:oauth:grant-type:token-exchange", "refresh_token"],
      token_endpoint_auth_methods_supported: ["none"],
      revocation_endpoint_auth_methods_supported: ["none"],
      // For gateways alone, by name and secret.
      introspection_endpoint_auth_methods_supported: ["client_secret_basic"],
      dpop_signing_alg_values_supported: ["ES256"],
      // RFC 8414 requires the member; there is no authorization endpoint.
      response_types_supported: [],
      wayleave_assertion_jwks_uri: `${issuerUrl}/assertion/jwks`,
    };
    app.get("/.well-known/oauth-authorization-server", async (_request, reply) =>
      reply.header("cache-control", jwksCache).send(metadata),
    );
    const keySets = {
      "/oauth2/jwks": deps.accessTokenJwks,
      "/assertion/jwks": deps.assertionJwks,
      ...(deps.jwtSvidJwks === undefined ? {} : { "/svid/jwks": deps.jwtSvidJwks }),
    };
    for (const [path, jwks] of Object.entries(keySets)) {
      app.get(path, async (_request, reply) =>
        reply.header("cache-control", jwksCache).type("application/jwk-set+json").send(jwks),
      );
    }
  };
}
