import { createHash } from "node:crypto";
import { renameSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { exportJWK, generateKeyPair } from "jose";
import { parse } from "yaml";
import type { KeyRing } from "../src/credential/keys.ts";
import type { DecisionPoint } from "../src/gateway/decision-point.ts";
import { createEnvoyCheck } from "../src/gateway/envoy/check.ts";
import type { Refusal } from "../src/gateway/envoy/check-answer.ts";
import { type Refusals, refusalsConfig } from "../src/gateway/envoy/refusals.ts";
import { renderEnvoy, renderSecret } from "../src/gateway/envoy/render.ts";
import type { EnvoyGatewaySettings } from "../src/gateway/envoy/settings.ts";
import { createGrpcServer } from "../src/grpc/server.ts";
import type { PolicyModel } from "../src/policy/model.ts";
import { type RealEnvoy, startEnvoy } from "./real-envoy.ts";

export const secret = "secret-of-the-lab-0123456789";
export const issuer = "https://wayleave.lab.example";
export const trustDomain = "lab.example";

/** What the upstream got. */
export interface Served {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
}

/** A ring of one key that never changes. */
export async function makeKey(kid: string, keyClass: KeyRing["class"] = "access-token"): Promise<KeyRing> {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid, alg: "ES256", use: "sig" };
  return {
    class: keyClass,
    ready: async () => {},
    kid,
    privateKey,
    publicKey: (asked) => (asked === kid ? publicKey : undefined),
    jwks: { keys: [jwk] },
    liveKids: () => [kid],
    onChange: () => () => {},
  };
}

/** A broker's endpoints without a broker: keys, and questions to a decision point. */
export interface LabBroker {
  readonly http: number;
  readonly grpc: number;
  /** Questions that were not put to the decision point. */
  readonly refused: Refusal[];
  close(): Promise<void>;
}

export async function startBroker(options: {
  readonly keys: readonly KeyRing[];
  readonly decisionPoint: DecisionPoint;
  readonly gateways: readonly {
    readonly name: string;
    readonly targets: readonly string[];
    readonly peers?: readonly string[];
  }[];
}): Promise<LabBroker> {
  const refused: Refusal[] = [];
  const secretHashes = [createHash("sha256").update(secret).digest("hex")];
  const check = createEnvoyCheck({
    decisionPoint: options.decisionPoint,
    gateways: options.gateways.map(({ name, targets, peers = [] }) => ({ name, targets, peers, secretHashes })),
    onRefused: (refusal) => refused.push(refusal),
  });
  const keys = options.keys.flatMap(({ jwks }) => jwks.keys);
  const server = createServer(async (request, response) => {
    const { method = "", url = "", rawHeaders } = request;
    if (/^\/(oauth2|assertion)\/jwks$/.test(url)) {
      response.setHeader("content-type", "application/json").end(JSON.stringify({ keys }));
      return;
    }
    const { status, headers, body } = await check.http({ method, url, rawHeaders });
    response.writeHead(status, headers.flat()).end(body);
  });
  const grpc = createGrpcServer(check.grpc, {
    onFault: (error) => refused.push({ reason: "outage", detail: String(error) }),
  });
  const address = (await grpc.listen({ host: "127.0.0.1", port: 0 })) as AddressInfo;
  return {
    http: await listen(server),
    grpc: address.port,
    refused,
    async close() {
      await Promise.all([closed(server), grpc.close(0)]);
    },
  };
}

export interface LabUpstream {
  readonly port: number;
  readonly served: Served[];
  close(): Promise<void>;
}

/** Answers everything with 200, and takes every upgrade, which it keeps open for `X-Hold`. */
export async function startUpstream(): Promise<LabUpstream> {
  const served: Served[] = [];
  const server = createServer((request, response) => {
    served.push({ method: request.method ?? "", url: request.url ?? "", rawHeaders: request.rawHeaders });
    request.resume();
    response.setHeader("content-length", "2").end("ok");
  });
  const held = new Set<Duplex>();
  server.on("upgrade", (request, socket) => {
    held.add(socket);
    served.push({ method: request.method ?? "", url: request.url ?? "", rawHeaders: request.rawHeaders });
    socket.on("error", () => {});
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    if (request.headers["x-hold"] === undefined) socket.end();
  });
  return {
    port: await listen(server),
    served,
    close() {
      for (const socket of held) socket.destroy();
      return closed(server);
    },
  };
}

export interface NativeEnvoy extends RealEnvoy {
  readonly listenPort: number;
  /** Puts these refusals where Envoy looks for them. */
  publish(refusals: Refusals): void;
}

export interface NativeOptions {
  readonly policy: PolicyModel;
  readonly targets: readonly string[];
  readonly broker: LabBroker;
  readonly upstream: number;
  readonly refusals: Refusals;
  readonly settings?: Partial<EnvoyGatewaySettings>;
  /** Changed as an operator could. */
  readonly change?: (config: Record<string, unknown>, directory: string) => Record<string, unknown>;
  /** More files in the run's folder. */
  readonly files?: readonly { readonly path: string; readonly text: string }[];
}

/** A real Envoy on a rendered configuration. It learns of refusals from a file. */
export async function startNative(options: NativeOptions): Promise<NativeEnvoy> {
  const { policy, broker, upstream, targets } = options;
  const rendered = (directory: string) =>
    renderEnvoy({
      policy,
      issuer,
      trustDomain,
      tokenTtlMs: 300_000,
      gateway: {
        name: "envoy-1",
        targets,
        mode: "native",
        protocol: "grpc",
        brokerUrl: `http://127.0.0.1:${broker.http}`,
        grpc: { host: "127.0.0.1", port: broker.grpc, tls: false },
        revocation: "file",
        keyCacheMs: 60_000,
        behind: [],
        listen: { host: "127.0.0.1", port: 0 },
        upstreams: Object.fromEntries(targets.map((target) => [target, { host: "127.0.0.1", port: upstream }])),
        directory,
        accessLog: join(directory, "access.log"),
        ...options.settings,
      },
    });
  const document = (refusals: Refusals) =>
    JSON.stringify({
      version_info: String(++versions),
      resources: [
        {
          "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
          ...refusalsConfig(refusals, policy.version),
        },
      ],
    });
  const envoy = await startEnvoy({
    config: (directory) => {
      const { files } = rendered(directory);
      const config = parse(files.find(({ path }) => path === "envoy.yaml")?.text ?? "") as Record<string, unknown>;
      return options.change?.(config, directory) ?? config;
    },
    files: (directory) => [
      ...rendered(directory).files.filter(({ path }) => path !== "wayleave-refusals.json"),
      renderSecret(secret),
      ...(options.files ?? []),
      { path: "wayleave-refusals.json", text: document(options.refusals) },
    ],
  });
  return {
    ...envoy,
    listenPort: envoy.port("wayleave"),
    publish(refusals) {
      const path = join(envoy.directory, "wayleave-refusals.json");
      writeFileSync(`${path}.new`, document(refusals));
      renameSync(`${path}.new`, path);
    },
  };
}

let versions = 0;

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
