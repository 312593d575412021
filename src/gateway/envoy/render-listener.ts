import { gatewaySpiffeId } from "../../core/spiffe-id.ts";
import { envoyLogFormat } from "./access-log.ts";
import { grpcService, renderClusters, svidTls } from "./render-clusters.ts";
import { renderFilters } from "./render-filters.ts";
import { renderVirtualHosts } from "./render-routes.ts";
import type { CheckedSettings } from "./settings.ts";
import { extension } from "./type-url.ts";

/** True where something is let through although policy refuses it. */
export const observes = ({ targets }: CheckedSettings): boolean =>
  targets.some(({ model }) => model.mode === "observe" || model.observe.length > 0);

/** A whole bootstrap: one listener, its routes, and where everything is. */
export function renderBootstrap(settings: CheckedSettings): object {
  return {
    node: { id: settings.name, cluster: settings.name, metadata: nodeMetadata(settings) },
    layered_runtime: { layers: [{ name: "wayleave", static_layer: runtime }] },
    static_resources: { listeners: [listener(settings)], clusters: renderClusters(settings) },
  };
}

/** A path as policy writes it, or many of them in one expression, is more than RE2 takes unasked. */
export const runtime = { "re2.max_program_size.error_level": 1_000_000, "re2.max_program_size.warn_level": 1_000_000 };

/** By which the broker knows what an Envoy enforces. */
const nodeMetadata = ({ name, policyVersion }: CheckedSettings): object => ({
  wayleave: { gateway: name, policy: policyVersion },
});

function listener(settings: CheckedSettings): object {
  const { host, port } = settings.listen;
  const tls = downstreamTls(settings);
  return {
    name: "wayleave",
    address: { socket_address: { address: host, port_value: port } },
    per_connection_buffer_limit_bytes: 32_768,
    filter_chains: [
      {
        filters: [{ name: "envoy.filters.network.http_connection_manager", typed_config: connectionManager(settings) }],
        ...(tls === undefined ? {} : { transport_socket: tls }),
      },
    ],
  };
}

function downstreamTls(settings: CheckedSettings): object | undefined {
  const { inner, behind, tls, trustDomain } = settings;
  if (!inner && tls === undefined) return undefined;
  const own = tls && {
    tls_certificates: [{ certificate_chain: { filename: tls.certFile }, private_key: { filename: tls.keyFile } }],
  };
  const svid = svidTls([...new Set(behind)].toSorted().map((front) => gatewaySpiffeId(trustDomain, front)));
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": extension("transport_sockets.tls.v3.DownstreamTlsContext"),
      ...(inner ? { require_client_certificate: true } : {}),
      common_tls_context: {
        ...(inner ? { ...svid.params, ...svid.peers } : {}),
        ...(own ?? svid.certificate),
        alpn_protocols: ["h2", "http/1.1"],
      },
    },
  };
}

/**
 * What must be so for paths, headers and addresses to mean one thing. Paths are not normalised: what is not plainly one
 * path is refused, and so the upstream gets what was decided, byte for byte.
 */
function connectionManager(settings: CheckedSettings): object {
  const { inner } = settings;
  // What is only observed must not be stopped by a rule of ours.
  const lenient = observes(settings);
  const keepsSlashes = lenient || settings.targets.some(({ model }) => model.encodedSlash === "segment");
  return {
    "@type": extension("filters.network.http_connection_manager.v3.HttpConnectionManager"),
    stat_prefix: "wayleave",
    normalize_path: false,
    merge_slashes: false,
    path_with_escaped_slashes_action: keepsSlashes ? "KEEP_UNCHANGED" : "REJECT_REQUEST",
    strip_trailing_host_dot: true,
    use_remote_address: !inner,
    internal_address_config: { unix_sockets: false },
    forward_client_cert_details: "SANITIZE",
    generate_request_id: true,
    preserve_external_request_id: inner,
    common_http_protocol_options: {
      headers_with_underscores_action: lenient ? "DROP_HEADER" : "REJECT_REQUEST",
      idle_timeout: "3600s",
    },
    http2_protocol_options: {
      max_concurrent_streams: 100,
      initial_stream_window_size: 65_536,
      initial_connection_window_size: 1_048_576,
    },
    request_headers_timeout: "10s",
    stream_idle_timeout: "300s",
    upgrade_configs: [{ upgrade_type: "websocket", enabled: false }],
    access_log: renderAccessLogs(settings),
    route_config: {
      name: "wayleave",
      ignore_port_in_host_matching: true,
      validate_clusters: true,
      virtual_hosts: renderVirtualHosts(settings),
    },
    http_filters: renderFilters(settings, { observes: lenient }),
  };
}

/** What shadow rules would have done, on routes that are observed. */
const shadowResults = "%DYNAMIC_METADATA(envoy.filters.http.rbac)%";

/** One JSON object a line, the path without its query; and the same to the broker, where it has gRPC. */
export function renderAccessLogs(settings: CheckedSettings): readonly object[] {
  return [
    {
      name: "envoy.access_loggers.file",
      typed_config: {
        "@type": extension("access_loggers.file.v3.FileAccessLog"),
        path: settings.accessLog,
        log_format: { json_format: { gateway: settings.name, ...envoyLogFormat, rbac: shadowResults } },
      },
    },
    ...(settings.grpc === undefined
      ? []
      : [
          {
            name: "envoy.access_loggers.http_grpc",
            typed_config: {
              "@type": extension("access_loggers.grpc.v3.HttpGrpcAccessLogConfig"),
              common_config: {
                log_name: settings.name,
                grpc_service: grpcService(),
                transport_api_version: "V3",
                buffer_flush_interval: "1s",
              },
              additional_request_headers_to_log: ["traceparent"],
            },
          },
        ]),
  ];
}
