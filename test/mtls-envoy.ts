import { type RealEnvoy, startEnvoy } from "./real-envoy.ts";

export interface MtlsEnvoyOptions {
  /** Where it gets its secrets: a Unix socket, or a local port with what proves it. */
  readonly sds:
    | { readonly path: string }
    | { readonly port: number; readonly metadata: Readonly<Record<string, string>> };
  /** Name of the secret that is its own certificate; `default` unless said. */
  readonly certificate?: string;
  /** Name of the secret that says whom to believe; `ROOTCA` unless said. */
  readonly roots?: string;
  /** SPIFFE IDs it serves. */
  readonly accepts: readonly string[];
  readonly protocol?: "GRPC" | "DELTA_GRPC";
  /** How long its listener waits for secrets before it opens without; for ever unless said. */
  readonly fetchTimeout?: string;
  /** Of its node. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

const type = (name: string) => `type.googleapis.com/envoy.extensions.${name}`;

/** A real Envoy whose certificate comes by SDS and which serves a page to the listed SPIFFE IDs and to nobody else. */
export function startMtlsEnvoy(options: MtlsEnvoyOptions): Promise<RealEnvoy> {
  return startEnvoy({
    config: () => ({
      node: { id: "mtls-of-a-test", cluster: "test", metadata: options.metadata ?? {} },
      static_resources: {
        listeners: [
          {
            name: "mtls",
            address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
            filter_chains: [{ transport_socket: transportSocket(options), filters: [page] }],
          },
        ],
        clusters: [sdsCluster(options)],
      },
    }),
  });
}

function transportSocket(options: MtlsEnvoyOptions) {
  const { certificate = "default", roots = "ROOTCA", accepts } = options;
  const secret = (name: string) => ({ name, sds_config: sdsConfig(options) });
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": type("transport_sockets.tls.v3.DownstreamTlsContext"),
      require_client_certificate: true,
      common_tls_context: {
        tls_certificate_sds_secret_configs: [secret(certificate)],
        combined_validation_context: {
          default_validation_context: {
            match_typed_subject_alt_names: accepts.map((exact) => ({ san_type: "URI", matcher: { exact } })),
          },
          validation_context_sds_secret_config: secret(roots),
        },
      },
    },
  };
}

function sdsConfig({ sds, protocol = "GRPC", fetchTimeout = "0s" }: MtlsEnvoyOptions) {
  const metadata = "metadata" in sds ? Object.entries(sds.metadata) : [];
  return {
    resource_api_version: "V3",
    initial_fetch_timeout: fetchTimeout,
    api_config_source: {
      api_type: protocol,
      transport_api_version: "V3",
      grpc_services: [
        {
          envoy_grpc: { cluster_name: "sds" },
          initial_metadata: metadata.map(([key, value]) => ({ key, value })),
        },
      ],
    },
  };
}

function sdsCluster({ sds }: MtlsEnvoyOptions) {
  const address =
    "path" in sds ? { pipe: { path: sds.path } } : { socket_address: { address: "127.0.0.1", port_value: sds.port } };
  return {
    name: "sds",
    type: "STATIC",
    connect_timeout: "5s",
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": type("upstreams.http.v3.HttpProtocolOptions"),
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    load_assignment: { cluster_name: "sds", endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
  };
}

const page = {
  name: "hcm",
  typed_config: {
    "@type": type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
    stat_prefix: "mtls",
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [{ match: { prefix: "/" }, direct_response: { status: 200, body: { inline_string: "served\n" } } }],
        },
      ],
    },
    http_filters: [{ name: "router", typed_config: { "@type": type("filters.http.router.v3.Router") } }],
  },
};
