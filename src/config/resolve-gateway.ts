import { parseAddress } from "./address.ts";
import type {
  EnvoyGatewayConfig,
  GatewayConfig,
  ListenConfig,
  NatsGatewayConfig,
  NatsServerAddress,
  NginxGatewayConfig,
} from "./config.ts";
import type { KeyPath } from "./document.ts";
import { parseDuration } from "./duration.ts";
import { resolveProxy } from "./proxy-gateway.ts";
import type { Reader } from "./reader.ts";
import type { ConfigFile } from "./schema.ts";

type RawGateway = NonNullable<ConfigFile["gateways"]>[number];
type RawEnvoy = Extract<RawGateway, { kind: "envoy" }>;
type RawNginx = Extract<RawGateway, { kind: "nginx" }>;
type RawNats = Extract<RawGateway, { kind: "nats" }>;

/** One gateway with its defaults filled in. */
export function resolveGateway(gateway: RawGateway, listen: ListenConfig, path: KeyPath, read: Reader): GatewayConfig {
  const base = {
    name: gateway.name,
    ...(gateway.environment === undefined ? {} : { environment: gateway.environment }),
    targets: gateway.targets,
    secret: read.secret(gateway, "secret", path) ?? "",
    ...(gateway.secret_file === undefined ? {} : { secretFile: read.absolute(gateway.secret_file) }),
    brokerUrl: gateway.broker_url ?? urlOf(listen),
    ...(gateway.access_log === undefined ? {} : { accessLog: gateway.access_log }),
    ...(gateway.on_outage === undefined ? {} : { keepAtMostMs: keepOf(gateway.on_outage) }),
  };
  if (gateway.kind === "nginx") return { ...base, ...nginxOf(gateway) };
  if (gateway.kind === "envoy") return { ...base, ...envoyOf(gateway, listen) };
  if (gateway.kind === "nats") return { ...base, ...natsOf(gateway, path, read) };
  if (gateway.kind === "proxy") return { ...base, ...resolveProxy(gateway, path, read) };
  const mesh = {
    ...base,
    namespace: gateway.namespace,
    meshTrustDomain: gateway.mesh_trust_domain ?? "cluster.local",
    workloads: gateway.workloads.map((workload) => ({ ...workload, service: workload.service ?? workload.target })),
  };
  if (gateway.kind === "linkerd") return { ...mesh, kind: "linkerd" };
  return { ...mesh, kind: "istio", mode: gateway.mode ?? "native" };
}

function urlOf({ host, port, tls }: ListenConfig): string {
  return `${tls === undefined ? "http" : "https"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function nginxOf(gateway: RawNginx): Omit<NginxGatewayConfig, keyof RawShared> {
  return {
    kind: "nginx",
    cacheMs: ms(gateway.cache ?? "0s"),
    njs: gateway.njs ?? false,
    ...(gateway.breakglass === undefined ? {} : { breakglass: parseAddress(gateway.breakglass) }),
  };
}

function natsOf(gateway: RawNats, path: KeyPath, read: Reader): Omit<NatsGatewayConfig, keyof RawShared> {
  const { tls } = gateway;
  const ca = gateway.server_ca_file;
  const serverCa = ca === undefined ? undefined : read.file(ca, [...path, "server_ca_file"]);
  return {
    kind: "nats",
    listen: parseAddress(gateway.listen ?? "127.0.0.1:4222"),
    ...(tls === undefined
      ? {}
      : {
          tls: {
            cert: read.file(tls.cert_file, [...path, "tls", "cert_file"]) ?? "",
            key: read.file(tls.key_file, [...path, "tls", "key_file"]) ?? "",
          },
        }),
    ...(gateway.public_url === undefined ? {} : { publicUrl: gateway.public_url }),
    servers: gateway.servers.map(natsServer),
    ...(serverCa === undefined ? {} : { serverCa }),
    authentication: gateway.authentication ?? "operator",
    direct: gateway.direct ?? false,
    standalone: gateway.standalone ?? false,
  };
}

function natsServer(text: string): NatsServerAddress {
  const tls = text.startsWith("tls://");
  return { ...parseAddress(text.slice(tls ? "tls://".length : "nats://".length)), tls };
}

function envoyOf(gateway: RawEnvoy, listen: ListenConfig): Omit<EnvoyGatewayConfig, keyof RawShared> {
  const grpc = gateway.broker_grpc === undefined ? listen.grpc : parseAddress(gateway.broker_grpc);
  return {
    kind: "envoy",
    mode: gateway.mode ?? "native",
    protocol: gateway.protocol ?? "grpc",
    ...(grpc === undefined ? {} : { grpc: { ...grpc, tls: listen.tls !== undefined } }),
    ...(gateway.broker_ca_file === undefined ? {} : { brokerCaFile: gateway.broker_ca_file }),
    revocation: gateway.revocation ?? "grpc",
    revocationTtlMs: ms(gateway.revocation_ttl ?? "15s"),
    keyCacheMs: ms(gateway.key_cache ?? "1m"),
    behind: gateway.behind ?? [],
    listen: parseAddress(gateway.listen ?? "127.0.0.1:10000"),
    upstreams: Object.fromEntries(
      Object.entries(gateway.upstreams ?? {}).map(([target, text]) => [target, upstreamOf(text)]),
    ),
    ...(gateway.tls === undefined ? {} : { tls: { certFile: gateway.tls.cert_file, keyFile: gateway.tls.key_file } }),
  };
}

function upstreamOf(text: string): EnvoyGatewayConfig["upstreams"][string] {
  return text.startsWith("h2://") ? { ...parseAddress(text.slice(5)), http2: true } : parseAddress(text);
}

/** What every kind shares, filled in by the caller. */
type RawShared = Pick<
  EnvoyGatewayConfig,
  "name" | "environment" | "targets" | "secret" | "secretFile" | "brokerUrl" | "accessLog" | "keepAtMostMs"
>;

function keepOf(onOutage: NonNullable<RawGateway["on_outage"]>): number {
  return onOutage === "deny" ? 0 : ms(onOutage.keep);
}

function ms(text: string): number {
  return parseDuration(text) ?? 0;
}
