import { gatewaySpiffeId } from "../../core/spiffe-id.ts";
import type { CheckedSettings, FrontedTarget } from "./settings.ts";
import { extension } from "./type-url.ts";

/** The broker, for questions by HTTP, keys and polls. */
export const brokerCluster = "wayleave";
/** The same by gRPC. */
const grpcCluster = "wayleave_grpc";
export const targetCluster = (target: string): string => `target_${target}`;

/** The 0600 file with the gateway's secret. */
export const secretFile = "wayleave-secret.yaml";
export const secretName = "wayleave_gateway_secret";

export const grpcService = (): object => ({ envoy_grpc: { cluster_name: grpcCluster } });

/** A stream to follow. Left to itself Envoy waits up to 30 s between attempts, and refuses that much longer after an outage. */
export const grpcFollowed = (): object => ({
  envoy_grpc: {
    cluster_name: grpcCluster,
    retry_policy: { retry_back_off: { base_interval: "0.25s", max_interval: "1s" } },
  },
});

/** The broker, and each target's upstream where its address is known. */
export function renderClusters(settings: CheckedSettings): readonly object[] {
  const { broker, grpc, targets } = settings;
  return [
    {
      ...cluster(brokerCluster, broker),
      ...(broker.scheme === "https" ? { transport_socket: serverTls(settings, broker.host) } : {}),
      typed_extension_protocol_options: proven(settings, { http_protocol_options: {} }),
    },
    ...(grpc === undefined
      ? []
      : [
          {
            ...cluster(grpcCluster, grpc),
            ...(grpc.tls ? { transport_socket: serverTls(settings, grpc.host) } : {}),
            typed_extension_protocol_options: proven(settings, {
              http2_protocol_options: { connection_keepalive: { interval: "5s", timeout: "2s" } },
            }),
          },
        ]),
    ...targets.flatMap((target) => (target.upstream === undefined ? [] : [upstreamCluster(settings, target)])),
  ];
}

interface Place {
  readonly host: string;
  readonly port: number;
  readonly socket?: string | undefined;
}

function cluster(name: string, { host, port, socket }: Place): object {
  const numeric = socket !== undefined || /^[\d.]+$|:/.test(host);
  const address =
    socket === undefined ? { socket_address: { address: host, port_value: port } } : { pipe: { path: socket } };
  return {
    name,
    type: numeric ? "STATIC" : "STRICT_DNS",
    connect_timeout: "1s",
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
  };
}

function upstreamCluster(settings: CheckedSettings, { name, upstream, next }: FrontedTarget): object {
  if (upstream === undefined) throw new TypeError(`target ${name} has no upstream`);
  return {
    ...cluster(targetCluster(name), upstream),
    ...(next === undefined ? {} : { transport_socket: ownTls(settings, next) }),
    ...(upstream.http2 === undefined ? {} : { typed_extension_protocol_options: http2Only }),
  };
}

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

const http2Only = {
  [httpOptions]: {
    "@type": `type.googleapis.com/${httpOptions}`,
    explicit_http_config: { http2_protocol_options: {} },
  },
};

/** Whatever goes to the broker proves which gateway it is from: questions, polls and streams alike. */
function proven({ name, directory }: CheckedSettings, protocol: object): object {
  const http_filters = [
    {
      name: "wayleave.gateway",
      typed_config: {
        "@type": extension("filters.http.header_mutation.v3.HeaderMutation"),
        mutations: {
          request_mutations: [
            {
              append: {
                header: { key: "x-wayleave-gateway", value: name },
                append_action: "OVERWRITE_IF_EXISTS_OR_ADD",
              },
            },
          ],
        },
      },
    },
    {
      name: "wayleave.secret",
      typed_config: {
        "@type": extension("filters.http.credential_injector.v3.CredentialInjector"),
        overwrite: true,
        credential: {
          name: "envoy.http.injected_credentials.generic",
          typed_config: {
            "@type": extension("http.injected_credentials.generic.v3.Generic"),
            credential: {
              name: secretName,
              sds_config: {
                resource_api_version: "V3",
                path_config_source: { path: `${directory}/${secretFile}` },
              },
            },
            header: "x-wayleave-gateway-secret",
          },
        },
      },
    },
    {
      name: "envoy.filters.http.upstream_codec",
      typed_config: { "@type": extension("filters.http.upstream_codec.v3.UpstreamCodec") },
    },
  ];
  return {
    [httpOptions]: {
      "@type": `type.googleapis.com/${httpOptions}`,
      explicit_http_config: protocol,
      http_filters,
    },
  };
}

/** A certificate for exactly this name or address. */
function serverTls({ brokerCaFile }: CheckedSettings, host: string): object {
  const address = /^[\d.]+$|:/.test(host);
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": extension("transport_sockets.tls.v3.UpstreamTlsContext"),
      ...(address ? {} : { sni: host }),
      common_tls_context: {
        validation_context: {
          trusted_ca: { filename: brokerCaFile },
          match_typed_subject_alt_names: [{ san_type: address ? "IP_ADDRESS" : "DNS", matcher: { exact: host } }],
        },
      },
    },
  };
}

/** Mutual TLS with the gateway behind, each proving itself by its SVID. */
function ownTls({ trustDomain }: CheckedSettings, next: string): object {
  const svid = svidTls([gatewaySpiffeId(trustDomain, next)]);
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": extension("transport_sockets.tls.v3.UpstreamTlsContext"),
      sni: next,
      common_tls_context: { ...svid.params, ...svid.certificate, ...svid.peers },
    },
  };
}

/** Parts of a `CommonTlsContext`: this gateway's SVID, and exactly these peers; both fresh from the broker. */
export function svidTls(peers: readonly string[]): Readonly<Record<"params" | "certificate" | "peers", object>> {
  const sds_config = {
    resource_api_version: "V3",
    api_config_source: { api_type: "GRPC", transport_api_version: "V3", grpc_services: [grpcFollowed()] },
  };
  return {
    params: { tls_params: { tls_minimum_protocol_version: "TLSv1_3" } },
    certificate: { tls_certificate_sds_secret_configs: [{ name: "default", sds_config }] },
    peers: {
      combined_validation_context: {
        default_validation_context: {
          match_typed_subject_alt_names: peers.map((exact) => ({ san_type: "URI", matcher: { exact } })),
        },
        validation_context_sds_secret_config: { name: "ROOTCA", sds_config },
      },
    },
  };
}
