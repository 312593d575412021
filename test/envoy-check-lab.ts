import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { authzHandler } from "../src/api/authz.ts";
import type { DecisionPoint } from "../src/gateway/decision-point.ts";
import { createEnvoyCheck } from "../src/gateway/envoy/check.ts";
import type { Refusal } from "../src/gateway/envoy/check-answer.ts";
import { createGrpcServer } from "../src/grpc/server.ts";
import { type RealEnvoy, startEnvoy } from "./real-envoy.ts";

/** What an upstream was asked to do, as its own HTTP parser read it. */
export interface ServedRequest {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
}

export interface CheckLab {
  readonly envoy: RealEnvoy;
  readonly port: number;
  readonly served: ServedRequest[];
  readonly refused: Refusal[];
  readonly faults: unknown[];
  /** Ends whoever answers Envoy's questions; Envoy stays. */
  killBroker(): Promise<void>;
  /** Ends everything and tells the access log, which is complete then. */
  stop(): Promise<Record<string, unknown>[]>;
}

export interface CheckLabOptions {
  readonly protocol: "grpc" | "http";
  readonly decisionPoint: DecisionPoint;
  /** Changes to the filter's configuration. */
  readonly filter?: Readonly<Record<string, unknown>>;
  /** The secret that Envoy proves itself with. */
  readonly secret?: string;
}

const secret = "a-secret-of-the-lab-only";

/** Client, real Envoy that asks for each request, the broker's side over real gRPC or HTTP, and an upstream that notes what it serves. */
export async function startCheckLab(options: CheckLabOptions): Promise<CheckLab> {
  const served: ServedRequest[] = [];
  const refused: Refusal[] = [];
  const faults: unknown[] = [];
  const check = createEnvoyCheck({
    decisionPoint: options.decisionPoint,
    gateways: [{ name: "edge-1", secretHashes: [hashOf(secret)], targets: ["billing"], peers: [] }],
    onRefused: (refusal) => refused.push(refusal),
  });
  const upstream = await listen(
    createServer({ maxHeaderSize: 131_072 }, (request, response) => {
      served.push({ method: request.method ?? "", url: request.url ?? "", rawHeaders: request.rawHeaders });
      request.resume();
      response.end("served\n");
    }),
  );
  const broker = await (options.protocol === "grpc" ? grpcBroker(check.grpc, faults) : httpBroker(check.http));
  const filter = { ...extAuthz(options.protocol, options.secret ?? secret), ...options.filter };
  const envoy = await startEnvoy({ config: (directory) => bootstrap(directory, filter, broker.port, upstream.port) });
  return {
    envoy,
    port: envoy.port(),
    served,
    refused,
    faults,
    killBroker: broker.close,
    stop: async () => {
      await envoy.stop();
      await Promise.all([upstream.close(), broker.close()]);
      const lines = envoy.read("access.log").split("\n").filter(Boolean);
      envoy.remove();
      return lines.map((line) => JSON.parse(line));
    },
  };
}

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");

interface Listening {
  readonly port: number;
  close(): Promise<void>;
}

async function grpcBroker(methods: Parameters<typeof createGrpcServer>[0], faults: unknown[]): Promise<Listening> {
  const server = createGrpcServer(methods, { onFault: (error) => faults.push(error) });
  const at = (await server.listen({ host: "127.0.0.1", port: 0 })) as AddressInfo;
  return { port: at.port, close: () => server.close(0) };
}

function httpBroker(http: ReturnType<typeof createEnvoyCheck>["http"]): Promise<Listening> {
  const handle = authzHandler({ "envoy/": http });
  return listen(
    createServer((request, response) => {
      if (!handle(request, response)) response.writeHead(404).end();
    }),
  );
}

async function listen(server: Server): Promise<Listening> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { port: (server.address() as AddressInfo).port, close };
}

const typed = (name: string, config: object) => ({
  "@type": `type.googleapis.com/envoy.extensions.${name}`,
  ...config,
});

function extAuthz(protocol: "grpc" | "http", gatewaySecret: string): Record<string, unknown> {
  const proof = { "x-wayleave-gateway": "edge-1", "x-wayleave-gateway-secret": gatewaySecret };
  const common = { transport_api_version: "V3", status_on_error: { code: 503 }, validate_mutations: true };
  if (protocol === "grpc") {
    const initial_metadata = Object.entries(proof).map(([key, value]) => ({ key, value }));
    const grpc_service = { envoy_grpc: { cluster_name: "broker" }, timeout: "0.2s", initial_metadata };
    return { ...common, grpc_service, encode_raw_headers: true };
  }
  const patterns = (...prefixes: string[]) => ({ patterns: prefixes.map((prefix) => ({ prefix })) });
  return {
    ...common,
    allowed_headers: { patterns: [{ safe_regex: { regex: ".*" } }] },
    http_service: {
      server_uri: { uri: "http://broker", cluster: "broker", timeout: "0.2s" },
      path_prefix: "/authz/envoy/billing",
      authorization_request: { headers_to_add: Object.entries(proof).map(([key, value]) => ({ key, value })) },
      authorization_response: {
        allowed_upstream_headers: patterns("x-wayleave-", "txn-token", "traceparent"),
        allowed_client_headers: patterns(
          "x-wayleave-",
          "content-type",
          "cache-control",
          "www-authenticate",
          "retry-after",
        ),
        dynamic_metadata_from_headers: patterns("x-wayleave-"),
      },
    },
  };
}

function bootstrap(directory: string, filter: object, brokerPort: number, upstreamPort: number) {
  const cluster = (name: string, port: number, extra: object = {}) => ({
    name,
    type: "STATIC",
    connect_timeout: "1s",
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: at(port) } }] }] },
    ...extra,
  });
  const http2 = {
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed("upstreams.http.v3.HttpProtocolOptions", {
        explicit_http_config: { http2_protocol_options: {} },
      }),
    },
  };
  return {
    static_resources: {
      listeners: [listener(directory, filter)],
      clusters: [
        cluster("broker", brokerPort, "grpc_service" in filter ? http2 : {}),
        cluster("upstream", upstreamPort),
      ],
    },
  };
}

const at = (port: number) => ({ socket_address: { address: "127.0.0.1", port_value: port } });

function listener(directory: string, filter: object) {
  const perRoute = typed("filters.http.ext_authz.v3.ExtAuthzPerRoute", {
    check_settings: { context_extensions: { target: "billing" } },
  });
  const manager = typed("filters.network.http_connection_manager.v3.HttpConnectionManager", {
    stat_prefix: "edge",
    codec_type: "AUTO",
    normalize_path: true,
    merge_slashes: true,
    path_with_escaped_slashes_action: "REJECT_REQUEST",
    upgrade_configs: [{ upgrade_type: "websocket" }],
    access_log: [{ name: "file", typed_config: accessLog(directory) }],
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            {
              match: { prefix: "/" },
              route: { cluster: "upstream" },
              typed_per_filter_config: { "envoy.filters.http.ext_authz": perRoute },
            },
          ],
        },
      ],
    },
    http_filters: [
      { name: "envoy.filters.http.ext_authz", typed_config: typed("filters.http.ext_authz.v3.ExtAuthz", filter) },
      { name: "envoy.filters.http.router", typed_config: typed("filters.http.router.v3.Router", {}) },
    ],
  });
  return {
    name: "edge",
    address: at(0),
    filter_chains: [{ filters: [{ name: "envoy.filters.network.http_connection_manager", typed_config: manager }] }],
  };
}

function accessLog(directory: string) {
  return typed("access_loggers.file.v3.FileAccessLog", {
    path: `${directory}/access.log`,
    log_format: {
      json_format: {
        status: "%RESPONSE_CODE%",
        details: "%RESPONSE_CODE_DETAILS%",
        authz: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%",
      },
    },
  });
}
