import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { envoyLogFormat, readEnvoyLine } from "../src/gateway/envoy/access-log.ts";
import { accessLogMethods } from "../src/gateway/envoy/access-log-service.ts";
import type { LoggedRequest, ReadLine } from "../src/gateway/evidence.ts";
import { createGrpcServer, type GrpcServer } from "../src/grpc/server.ts";
import { type RealEnvoy, startEnvoy } from "./real-envoy.ts";

const gateway = { name: "edge-2", hop: "envoy", targets: ["billing"] } as const;
const secret = "a-secret-of-this-test-only";
const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
const type = (name: string) => `type.googleapis.com/envoy.extensions.${name}`;

const streamed: ReadLine[] = [];
const refused: string[] = [];
let grpc: GrpcServer;
let envoy: RealEnvoy;
let token = "";
const upstream = createServer((_request, response) => response.writeHead(201).end());

/** Says how many entries arrived, as soon as they have. */
let arrived: () => void = () => undefined;
async function entries(count: number): Promise<readonly LoggedRequest[]> {
  while (streamed.length < count) {
    await new Promise<void>((resolve) => {
      arrived = resolve;
    });
  }
  return streamed.filter((entry) => typeof entry !== "string");
}

beforeAll(async () => {
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  grpc = createGrpcServer(
    accessLogMethods({
      gateway: (name, given) => (name === gateway.name && given === secret ? gateway : undefined),
      take: async (_gateway, taken) => {
        streamed.push(...taken);
        arrived();
      },
      onUnauthenticated: (detail) => refused.push(detail),
    }),
    { onFault: () => undefined },
  );
  const grpcPort = ((await grpc.listen({ host: "127.0.0.1", port: 0 })) as AddressInfo).port;
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "k", alg: "ES256" }] });
  token = await new SignJWT({ sid: "ses_0123456789abcdef", roles: ["release"], pol: "41c0aa" })
    .setProtectedHeader({ alg: "ES256", kid: "k" })
    .setSubject("spiffe://acme.example/ci/gitlab/1042")
    .setIssuer("https://wayleave.example")
    .setExpirationTime("1h")
    .sign(privateKey);
  envoy = await startEnvoy({
    config: (directory) => bootstrap(directory, grpcPort, (upstream.address() as AddressInfo).port, jwks),
  });
}, 60_000);

afterAll(async () => {
  await envoy?.stop();
  envoy?.remove();
  await grpc?.close(0);
  upstream.close();
});

describe("a real Envoy's access log", () => {
  test("tells the same by the service and in its file", async () => {
    const url = `http://127.0.0.1:${envoy.port("edge")}`;
    const headers = { authorization: `Bearer ${token}`, traceparent: `00-${trace}-00f067aa0ba902b7-01` };
    const statuses = [
      (await fetch(`${url}/v1/releases?token=secret`, { method: "POST", headers })).status,
      (await fetch(`${url}/v1/releases`, { method: "DELETE", headers })).status,
      (await fetch(`${url}/v1/releases`, { headers: { authorization: "Bearer garbage" } })).status,
    ];
    expect(statuses).toEqual([201, 403, 401]);
    const heard = await entries(3);
    await envoy.stop();
    const filed = envoy
      .read("access.log")
      .trim()
      .split("\n")
      .map((line) => readEnvoyLine(line, gateway));
    // Durations are measured by each log for itself.
    const bare = (list: readonly ReadLine[]) =>
      list.map((entry) => (typeof entry === "string" ? entry : { ...entry, seconds: 0 }));
    expect(bare(filed)).toEqual(bare(heard));
    const who = { session: "ses_0123456789abcdef", subject: "spiffe://acme.example/ci/gitlab/1042", trace };
    expect(heard).toMatchObject([
      {
        ...who,
        method: "POST",
        path: "/v1/releases",
        status: 201,
        upstreamStatus: 201,
        decision: "allow",
        role: "release",
      },
      { ...who, method: "DELETE", status: 403, decision: "deny", reason: "no_role", enforced: "native" },
      {
        method: "GET",
        status: 401,
        decision: "deny",
        reason: "credential_invalid",
        enforced: "native",
        target: "billing",
      },
    ]);
    expect(heard[2]).not.toHaveProperty("session");
    expect(JSON.stringify(heard)).not.toContain("secret");
    expect(Math.abs((heard[0]?.at ?? 0) - Date.now())).toBeLessThan(60_000);
    expect(refused).toEqual([]);
  });
});

function bootstrap(directory: string, grpcPort: number, upstreamPort: number, jwks: string) {
  return {
    static_resources: {
      listeners: [
        {
          name: "edge",
          address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
          filter_chains: [
            {
              filters: [
                { name: "envoy.filters.network.http_connection_manager", typed_config: manager(directory, jwks) },
              ],
            },
          ],
        },
      ],
      clusters: [cluster("billing", upstreamPort), { ...cluster("wayleave", grpcPort), ...http2 }],
    },
  };
}

const http2 = {
  typed_extension_protocol_options: {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": type("upstreams.http.v3.HttpProtocolOptions"),
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
};

function cluster(name: string, port: number) {
  const endpoint = { address: { socket_address: { address: "127.0.0.1", port_value: port } } };
  return {
    name,
    type: "STATIC",
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
  };
}

function manager(directory: string, jwks: string) {
  const metadata = Object.entries({ "x-wayleave-gateway": gateway.name, "x-wayleave-gateway-secret": secret });
  return {
    "@type": type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
    stat_prefix: "edge",
    access_log: [
      {
        name: "file",
        typed_config: {
          "@type": type("access_loggers.file.v3.FileAccessLog"),
          path: `${directory}/access.log`,
          log_format: { json_format: { gateway: gateway.name, ...envoyLogFormat } },
        },
      },
      {
        name: "grpc",
        typed_config: {
          "@type": type("access_loggers.grpc.v3.HttpGrpcAccessLogConfig"),
          common_config: {
            log_name: "wayleave",
            transport_api_version: "V3",
            buffer_flush_interval: "0.1s",
            grpc_service: {
              envoy_grpc: { cluster_name: "wayleave" },
              initial_metadata: metadata.map(([key, value]) => ({ key, value })),
            },
          },
          additional_request_headers_to_log: ["traceparent"],
        },
      },
    ],
    http_filters: [
      {
        name: "envoy.filters.http.jwt_authn",
        typed_config: {
          "@type": type("filters.http.jwt_authn.v3.JwtAuthentication"),
          providers: {
            wayleave: {
              issuer: "https://wayleave.example",
              local_jwks: { inline_string: jwks },
              payload_in_metadata: "wayleave",
            },
          },
          rules: [{ match: { prefix: "/" }, requires: { provider_name: "wayleave" } }],
        },
      },
      {
        name: "envoy.filters.http.rbac",
        typed_config: {
          "@type": type("filters.http.rbac.v3.RBAC"),
          rules: {
            action: "ALLOW",
            policies: {
              release: {
                permissions: [{ header: { name: ":method", string_match: { exact: "POST" } } }],
                principals: [{ any: true }],
              },
            },
          },
        },
      },
      { name: "envoy.filters.http.router", typed_config: { "@type": type("filters.http.router.v3.Router") } },
    ],
    route_config: {
      virtual_hosts: [
        {
          name: "billing",
          domains: ["*"],
          routes: [{ name: "billing/0", match: { prefix: "/" }, route: { cluster: "billing" } }],
        },
      ],
    },
  };
}
