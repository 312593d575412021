import type { JWK } from "jose";
import { refusalsFilterType, refusalsName } from "../src/gateway/envoy/refusals.ts";
import { claimHeaders, tokenMetadata } from "../src/gateway/envoy/token-metadata.ts";
import { type RealEnvoy, startEnvoy } from "./real-envoy.ts";

export type Transport = "delta" | "sotw" | "rest" | "file";

export interface FollowerOptions {
  /** How it learns whom to refuse; `check` asks for every request instead. */
  readonly transport: Transport | "check";
  readonly broker: { readonly grpc: number; readonly rest: number };
  readonly issuer: string;
  readonly jwks: { readonly keys: readonly JWK[] };
  readonly secret: string;
  /** Stands where it looks for a file, before it starts. */
  readonly document?: string;
}

/** Where it watches for a document, in the folder of its run. */
export const documentFile = "refusals.json";

const type = (name: string) => `type.googleapis.com/${name}`;
const jwtAuthn = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const hcmType = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/** A real Envoy that verifies tokens itself and learns by one transport whom to refuse: the least configuration that can. */
export function startFollowingEnvoy(options: FollowerOptions): Promise<RealEnvoy> {
  const { transport, broker, document } = options;
  return startEnvoy({
    files: () => (document === undefined ? [] : [{ path: documentFile, text: document }]),
    config: (directory) => ({
      node: { id: `envoy-${transport}`, cluster: "lab", metadata: { wayleave: { gateway: "inner" } } },
      static_resources: {
        listeners: [
          {
            name: "lab",
            address: address(0),
            filter_chains: [{ filters: [{ name: "hcm", typed_config: manager(options, directory) }] }],
          },
        ],
        clusters: [cluster("broker_grpc", broker.grpc, {}), cluster("broker_rest", broker.rest, options)],
      },
    }),
  });
}

function manager(options: FollowerOptions, directory: string) {
  const filters = options.transport === "check" ? [checkFilter(options.secret)] : nativeFilters(options, directory);
  return {
    "@type": type(hcmType),
    stat_prefix: "lab",
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [{ match: { prefix: "/" }, direct_response: { status: 200, body: { inline_string: "served" } } }],
          ...(options.transport === "check" ? { typed_per_filter_config: { check: checkTarget } } : {}),
        },
      ],
    },
    http_filters: [
      ...filters,
      { name: "router", typed_config: { "@type": type("envoy.extensions.filters.http.router.v3.Router") } },
    ],
  };
}

const checkTarget = {
  "@type": type("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"),
  check_settings: { context_extensions: { target: "billing" } },
};

function checkFilter(secret: string) {
  return {
    name: "check",
    typed_config: {
      "@type": type("envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"),
      transport_api_version: "V3",
      encode_raw_headers: true,
      grpc_service: { envoy_grpc: { cluster_name: "broker_grpc" }, initial_metadata: initialMetadata(secret) },
    },
  };
}

function nativeFilters(options: FollowerOptions, directory: string) {
  const provider = {
    issuer: options.issuer,
    local_jwks: { inline_string: JSON.stringify(options.jwks) },
    from_headers: [{ name: "authorization", value_prefix: "Bearer " }],
    payload_in_metadata: tokenMetadata.payload,
    header_in_metadata: tokenMetadata.header,
    claim_to_headers: [
      { header_name: claimHeaders.session, claim_name: "sid" },
      { header_name: claimHeaders.token, claim_name: "jti" },
    ],
  };
  return [
    {
      name: "jwt",
      typed_config: {
        "@type": type(jwtAuthn),
        providers: { wayleave: provider },
        rules: [{ match: { prefix: "/" }, requires: { provider_name: "wayleave" } }],
      },
    },
    {
      name: refusalsName("p1"),
      config_discovery: {
        config_source: {
          resource_api_version: "V3",
          initial_fetch_timeout: "2s",
          ...source(options, `${directory}/${documentFile}`),
        },
        type_urls: [refusalsFilterType],
        // Rules without a policy: everything is refused.
        default_config: { "@type": refusalsFilterType, rules: {} },
      },
    },
  ];
}

function source({ transport, secret }: FollowerOptions, file: string) {
  if (transport === "file") return { path_config_source: { path: file } };
  if (transport === "rest") {
    return {
      api_config_source: {
        api_type: "REST",
        transport_api_version: "V3",
        cluster_names: ["broker_rest"],
        refresh_delay: "0.2s",
        request_timeout: "1s",
      },
    };
  }
  return {
    api_config_source: {
      api_type: transport === "delta" ? "DELTA_GRPC" : "GRPC",
      transport_api_version: "V3",
      grpc_services: [{ envoy_grpc: { cluster_name: "broker_grpc" }, initial_metadata: initialMetadata(secret) }],
    },
  };
}

const proof = (secret: string) => ({ "x-wayleave-gateway": "inner", "x-wayleave-gateway-secret": secret });

const initialMetadata = (secret: string) => Object.entries(proof(secret)).map(([key, value]) => ({ key, value }));

/** A poll has no metadata of its own: what proves the gateway is added by a filter of the cluster. */
function cluster(name: string, port: number, { secret }: { readonly secret?: string }) {
  const mutations = Object.entries(secret === undefined ? {} : proof(secret)).map(([key, value]) => ({
    append: { header: { key, value }, append_action: "OVERWRITE_IF_EXISTS_OR_ADD" },
  }));
  const http_filters = [
    {
      name: "proof",
      typed_config: {
        "@type": type("envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"),
        mutations: { request_mutations: mutations },
      },
    },
    {
      name: "codec",
      typed_config: { "@type": type("envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec") },
    },
  ];
  const protocol = secret === undefined ? { http2_protocol_options: {} } : { http_protocol_options: {} };
  return {
    name,
    connect_timeout: "1s",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }],
    },
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": type("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
        explicit_http_config: protocol,
        ...(secret === undefined ? {} : { http_filters }),
      },
    },
  };
}

const address = (port: number) => ({ socket_address: { address: "127.0.0.1", port_value: port } });
