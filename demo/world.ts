import { randomBytes } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { stringify } from "yaml";
import { vocabulary } from "../src/ci/providers.ts";
import { gatewaysBehind } from "../src/cli/render-nginx.ts";
import type { Config, EnvoyGatewayConfig } from "../src/config/config.ts";
import { loadConfig } from "../src/config/load.ts";
import { readPolicyFiles } from "../src/config/policy-files.ts";
import { type RenderedFile, renderNginx, renderSecret } from "../src/gateway/nginx/render.ts";
import { compile } from "../src/policy/compile.ts";
import type { PolicyModel } from "../src/policy/model.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import type { SessionTimings } from "../src/session/ports.ts";
import { freePort } from "./free-port.ts";
import { createPrivateCa } from "./gitlab/certificate.ts";
import { createJobClient, type JobClient } from "./job-client.ts";
import { fetchEdgeSvid, type Mesh, startMesh } from "./mesh.ts";
import { type RunningNginx, startNginx } from "./nginx.ts";
import { startUpstream, type Upstream } from "./upstream.ts";

/** What the CI of the story contributes to the configuration, once the broker's address is known. */
export interface CiPart {
  /** `issuers:` entries of wayleave.yaml, secrets as `*_file` names in the folder. */
  readonly issuer: Readonly<Record<string, unknown>>;
  /** Files for the folder: secrets and certificates. */
  readonly files: Readonly<Record<string, string>>;
}

/** A whole installation in one folder: broker, real NGINX with TLS, upstream. The CI is the caller's. */
export interface DemoWorld {
  readonly directory: string;
  readonly config: Config;
  readonly configPath: string;
  /** What every gateway was rendered from. */
  readonly policy: PolicyModel;
  readonly broker: RunningServer;
  readonly upstream: Upstream;
  /** `https://billing.localhost:<port>`; every target of the policy has its name there. */
  edgeUrl(host: string): string;
  readonly ca: string;
  readonly client: JobClient;
  readonly nginx: RunningNginx;
  /** Present where the world was asked for one. */
  readonly mesh?: Mesh;
  /** Stops the broker; everything else goes on. */
  stopBroker(): Promise<void>;
  /** Stops the broker, if it runs, and starts it again from what is on disk. */
  restartBroker(): Promise<void>;
  close(): Promise<void>;
}

export interface WorldOptions {
  /** Emptied and filled; holds configuration, keys, journal and logs. */
  readonly directory: string;
  /** Called with the broker's URL and the private CA before anything starts. */
  readonly ci: (brokerUrl: string, ca: ReturnType<typeof createPrivateCa>) => Promise<CiPart>;
  readonly timings?: Partial<SessionTimings>;
  /** The broker's public URL where jobs reach it through something else than its own listener. */
  readonly publicUrl?: string;
  /** Preferred port of NGINX; another is taken when it is in use. */
  readonly edgePort?: number;
  readonly policy?: string;
  readonly targets?: readonly string[];
  /** Puts an Envoy sidecar with mutual TLS between NGINX and the upstream of `billing`. */
  readonly mesh?: Partial<Pick<EnvoyGatewayConfig, "mode" | "protocol" | "revocation" | "revocationTtlMs">>;
  /** More of `gateways:`, once the upstream's address is known. Each has its secret in `<name>.secret`; whoever asks for them starts them. */
  readonly gateways?: (upstream: string) => Promise<readonly ({ readonly name: string } & object)[]>;
  /** More directives for `http { }` of NGINX. */
  readonly nginx?: string;
  /** More top-level keys of wayleave.yaml. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

const policyPath = fileURLToPath(new URL("policy.yaml", import.meta.url));

/** Writes an installation as an operator would and starts it: `wayleave.yaml`, a policy, rendered NGINX includes. */
export async function startWorld(options: WorldOptions): Promise<DemoWorld> {
  const { directory } = options;
  await rm(directory, { recursive: true, force: true });
  await mkdir(join(directory, "nginx"), { recursive: true, mode: 0o700 });
  const ca = createPrivateCa(Date.now());
  const brokerPort = await freePort();
  const brokerUrl = `http://127.0.0.1:${brokerPort}`;
  const ci = await options.ci(brokerUrl, ca);
  const targets = options.targets ?? ["billing", "reports"];
  const upstream = await startUpstream();
  const configPath = await writeInstallation(options, ci, ca.ca, { brokerUrl, brokerPort, targets, upstream });
  const config = readConfig(configPath);
  let broker = await startBroker(config, options.timings);
  let stopBroker: (() => Promise<void>) | undefined = () => broker.close();
  const stopped = async () => {
    const stop = stopBroker;
    stopBroker = undefined;
    await stop?.();
  };
  const started: (() => Promise<void>)[] = [upstream.close, stopped];
  const close = async () => {
    for (const stop of started.splice(0).toReversed()) await stop();
  };
  try {
    const model = await readPolicy(config);
    const mesh = options.mesh === undefined ? undefined : await startWorldMesh(config, model);
    if (mesh !== undefined) started.push(mesh.close);
    const edgePort = await freePort(options.edgePort);
    const hosts = await writeEdge(config, model, ca, upstream.port, { port: edgePort, more: options.nginx });
    const nginx = await startNginx({ directory: join(directory, "nginx"), config: "nginx.conf" });
    started.push(nginx.stop);
    const client = createJobClient(brokerUrl, ca.ca);
    started.push(client.close);
    return {
      directory,
      config,
      configPath,
      policy: model,
      get broker() {
        return broker;
      },
      upstream,
      ca: ca.ca,
      client,
      nginx,
      ...(mesh === undefined ? {} : { mesh }),
      edgeUrl: (host) => {
        if (!hosts.includes(host)) throw new TypeError(`the edge does not serve ${host}`);
        return `https://${host}:${edgePort}`;
      },
      stopBroker: stopped,
      async restartBroker() {
        await stopped();
        broker = await startBroker(config, options.timings);
        stopBroker = () => broker.close();
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startWorldMesh(config: Config, policy: PolicyModel): Promise<Mesh> {
  const folder = join(config.dataDir, "..");
  const edge = join(folder, "nginx");
  await fetchEdgeSvid(config, edge);
  return startMesh({ config, policy, directory: join(folder, "envoy"), edge });
}

async function writeInstallation(
  options: WorldOptions,
  ci: CiPart,
  ca: string,
  at: {
    readonly brokerUrl: string;
    readonly brokerPort: number;
    readonly targets: readonly string[];
    readonly upstream: Upstream;
  },
): Promise<string> {
  const { directory } = options;
  const { brokerUrl, brokerPort, targets, upstream } = at;
  const secret = (name: string, text: string) => writeFile(join(directory, name), text, { mode: 0o600 });
  await secret("encryption.key", randomBytes(32).toString("base64"));
  await secret("edge-1.secret", randomBytes(24).toString("base64url"));
  await secret("sidecar.secret", randomBytes(24).toString("base64url"));
  await secret("ca.pem", ca);
  for (const [name, text] of Object.entries(ci.files)) await secret(name, text);
  const more = (await options.gateways?.(`127.0.0.1:${upstream.port}`)) ?? [];
  for (const { name } of more) await secret(`${name}.secret`, randomBytes(24).toString("base64url"));
  const meshed = options.mesh !== undefined || more.length > 0;
  const file = {
    issuer: options.publicUrl ?? brokerUrl,
    trust_domain: "acme.example",
    listen: {
      address: `127.0.0.1:${brokerPort}`,
      ...(meshed ? { grpc: `127.0.0.1:${await freePort()}` } : {}),
    },
    data: "./data",
    policy: options.policy ?? policyPath,
    keys: { encryption_key_file: "encryption.key" },
    issuers: [ci.issuer],
    gateways: [
      { name: "edge-1", kind: "nginx", targets, secret_file: "edge-1.secret", broker_url: brokerUrl },
      ...(options.mesh === undefined ? [] : [await sidecar(options.mesh, at)]),
      ...more.map((gateway) => ({ secret_file: `${gateway.name}.secret`, broker_url: brokerUrl, ...gateway })),
    ],
    ...options.settings,
  };
  const path = join(directory, "wayleave.yaml");
  await writeFile(path, stringify(file, { aliasDuplicateObjects: false }));
  return path;
}

async function sidecar(
  { mode, protocol, revocation, revocationTtlMs }: NonNullable<WorldOptions["mesh"]>,
  { brokerUrl, upstream }: { readonly brokerUrl: string; readonly upstream: Upstream },
) {
  return {
    name: "billing-sidecar",
    kind: "envoy",
    targets: ["billing"],
    secret_file: "sidecar.secret",
    broker_url: brokerUrl,
    behind: ["edge-1"],
    listen: `127.0.0.1:${await freePort()}`,
    upstreams: { billing: `127.0.0.1:${upstream.port}` },
    ...(mode === undefined ? {} : { mode }),
    ...(protocol === undefined ? {} : { protocol }),
    ...(revocation === undefined ? {} : { revocation }),
    ...(revocationTtlMs === undefined ? {} : { revocation_ttl: `${revocationTtlMs}ms` }),
  };
}

async function readPolicy(config: Config): Promise<PolicyModel> {
  const { files, lock } = await readPolicyFiles(config.policyPath);
  const { model } = parsePolicy({
    files,
    vocabulary,
    issuers: config.issuers,
    ...(lock === undefined ? {} : { lock }),
  });
  if (model === undefined) throw new TypeError("the broker has loaded this policy already");
  return model;
}

function readConfig(path: string): Config {
  const loaded = loadConfig({ path, env: process.env });
  if ("config" in loaded) return loaded.config;
  throw new Error(loaded.diagnostics.map((each) => `${each.place.line}: ${each.message}`).join("\n"));
}

function startBroker(config: Config, timings: Partial<SessionTimings> | undefined): Promise<RunningServer> {
  const log = pino({ level: "warn" }, pino.destination({ dest: join(config.dataDir, "..", "broker.log"), sync: true }));
  return startServer(config, { log, ...(timings === undefined ? {} : { timings }) });
}

/** The edge as an operator has it: an existing nginx.conf with TLS, and Wayleave's includes at three places. */
async function writeEdge(
  config: Config,
  model: PolicyModel,
  ca: ReturnType<typeof createPrivateCa>,
  upstreamPort: number,
  edge: { readonly port: number; readonly more: string | undefined },
): Promise<readonly string[]> {
  const directory = join(config.dataDir, "..", "nginx");
  const [gateway] = config.gateways;
  if (gateway === undefined) throw new TypeError("the demo has one gateway");
  const behind = gatewaysBehind(config.gateways, gateway.name);
  const policy = compile(model, vocabulary);
  const rendered = renderNginx({
    policy,
    gateway: {
      name: gateway.name,
      brokerUrl: gateway.brokerUrl,
      secretFile: join(directory, "wayleave-secret.conf"),
      directory,
      accessLog: join(directory, "access.json"),
      targets: gateway.targets,
      behind,
    },
  });
  const hosts = gateway.targets.flatMap((name) => policy.targets.get(name)?.hosts ?? []);
  const { cert, key } = ca.issue(hosts);
  const inner = config.gateways.find((each) => each.kind === "envoy");
  const upstreamOf = (target: string) =>
    inner !== undefined && behind[target] === inner.name
      ? `https://127.0.0.1:${inner.listen.port}`
      : `http://127.0.0.1:${upstreamPort}`;
  const written: RenderedFile[] = [
    ...rendered.files,
    { path: "wayleave-secret.conf", text: renderSecret(gateway.secret), mode: 0o600 },
    { path: "edge.crt", text: cert, mode: 0o644 },
    { path: "edge.key", text: key, mode: 0o600 },
    { path: "nginx.conf", text: edgeConf(directory, edge, gateway.targets, hosts, upstreamOf), mode: 0o644 },
  ];
  for (const file of written) await writeFile(join(directory, file.path), file.text, { mode: file.mode });
  return hosts;
}

function edgeConf(
  directory: string,
  { port, more = "" }: { readonly port: number; readonly more: string | undefined },
  targets: readonly string[],
  hosts: readonly string[],
  upstreamOf: (target: string) => string,
): string {
  const server = (host: string, target = "") => `
  server {
    listen 127.0.0.1:${port} ssl;
    server_name ${host};
    ssl_certificate ${directory}/edge.crt;
    ssl_certificate_key ${directory}/edge.key;
    include ${directory}/wayleave-server.conf;
    location / {
      include ${directory}/wayleave-location-${target}.conf;
      proxy_pass ${upstreamOf(target)};
    }
  }`;
  return `daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log notice;
events { }
http {
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  access_log off;
  include ${directory}/wayleave-http.conf;
  ${more}
${hosts.map((host, at) => server(host, targets[at])).join("")}
}
`;
}
