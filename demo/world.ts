import { randomBytes } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { stringify } from "yaml";
import { vocabulary } from "../src/ci/providers.ts";
import type { Config } from "../src/config/config.ts";
import { loadConfig } from "../src/config/load.ts";
import { readPolicyFiles } from "../src/config/policy-files.ts";
import { type RenderedFile, renderNginx, renderSecret } from "../src/gateway/nginx/render.ts";
import { compile } from "../src/policy/compile.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import type { SessionTimings } from "../src/session/ports.ts";
import { freePort } from "./free-port.ts";
import { createPrivateCa } from "./gitlab/certificate.ts";
import { createJobClient, type JobClient } from "./job-client.ts";
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
  readonly broker: RunningServer;
  readonly upstream: Upstream;
  /** `https://billing.localhost:<port>`; every target of the policy has its name there. */
  edgeUrl(host: string): string;
  readonly ca: string;
  readonly client: JobClient;
  readonly nginx: RunningNginx;
  /** Stops the broker and starts it again from what is on disk. */
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
  const configPath = await writeInstallation(options, ci, ca.ca, brokerUrl, brokerPort, targets);
  const config = readConfig(configPath);
  let broker = await startBroker(config, options.timings);
  const upstream = await startUpstream();
  const edgePort = await freePort(options.edgePort);
  const hosts = await writeEdge(config, ca, upstream.port, edgePort);
  const nginx = await startNginx({ directory: join(directory, "nginx"), config: "nginx.conf" }).catch(
    async (error: unknown) => {
      await Promise.all([broker.close(), upstream.close()]);
      throw error;
    },
  );
  const client = createJobClient(brokerUrl, ca.ca);
  return {
    directory,
    config,
    configPath,
    get broker() {
      return broker;
    },
    upstream,
    ca: ca.ca,
    client,
    nginx,
    edgeUrl: (host) => {
      if (!hosts.includes(host)) throw new TypeError(`the edge does not serve ${host}`);
      return `https://${host}:${edgePort}`;
    },
    async restartBroker() {
      await broker.close();
      broker = await startBroker(config, options.timings);
    },
    async close() {
      await client.close();
      await nginx.stop();
      await broker.close();
      await upstream.close();
    },
  };
}

async function writeInstallation(
  options: WorldOptions,
  ci: CiPart,
  ca: string,
  brokerUrl: string,
  brokerPort: number,
  targets: readonly string[],
): Promise<string> {
  const { directory } = options;
  const secret = (name: string, text: string) => writeFile(join(directory, name), text, { mode: 0o600 });
  await secret("encryption.key", randomBytes(32).toString("base64"));
  await secret("edge-1.secret", randomBytes(24).toString("base64url"));
  await secret("ca.pem", ca);
  for (const [name, text] of Object.entries(ci.files)) await secret(name, text);
  const file = {
    issuer: options.publicUrl ?? brokerUrl,
    trust_domain: "acme.example",
    listen: { address: `127.0.0.1:${brokerPort}` },
    data: "./data",
    policy: options.policy ?? policyPath,
    keys: { encryption_key_file: "encryption.key" },
    issuers: [ci.issuer],
    gateways: [{ name: "edge-1", kind: "nginx", targets, secret_file: "edge-1.secret", broker_url: brokerUrl }],
  };
  const path = join(directory, "wayleave.yaml");
  await writeFile(path, stringify(file));
  return path;
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
  ca: ReturnType<typeof createPrivateCa>,
  upstreamPort: number,
  port: number,
): Promise<readonly string[]> {
  const directory = join(config.dataDir, "..", "nginx");
  const [gateway] = config.gateways;
  if (gateway === undefined) throw new TypeError("the demo has one gateway");
  const { files, lock } = await readPolicyFiles(config.policyPath);
  const { model } = parsePolicy({
    files,
    vocabulary,
    issuers: config.issuers,
    ...(lock === undefined ? {} : { lock }),
  });
  if (model === undefined) throw new TypeError("the broker has loaded this policy already");
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
    },
  });
  const hosts = gateway.targets.flatMap((name) => policy.targets.get(name)?.hosts ?? []);
  const { cert, key } = ca.issue(hosts);
  const written: RenderedFile[] = [
    ...rendered.files,
    { path: "wayleave-secret.conf", text: renderSecret(gateway.secret), mode: 0o600 },
    { path: "edge.crt", text: cert, mode: 0o644 },
    { path: "edge.key", text: key, mode: 0o600 },
    { path: "nginx.conf", text: edgeConf(directory, port, upstreamPort, gateway.targets, hosts), mode: 0o644 },
  ];
  for (const file of written) await writeFile(join(directory, file.path), file.text, { mode: file.mode });
  return hosts;
}

function edgeConf(
  directory: string,
  port: number,
  upstreamPort: number,
  targets: readonly string[],
  hosts: readonly string[],
): string {
  const server = (host: string, target: string | undefined) => `
  server {
    listen 127.0.0.1:${port} ssl;
    server_name ${host};
    ssl_certificate ${directory}/edge.crt;
    ssl_certificate_key ${directory}/edge.key;
    include ${directory}/wayleave-server.conf;
    location / {
      include ${directory}/wayleave-location-${target}.conf;
      proxy_pass http://127.0.0.1:${upstreamPort};
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
${hosts.map((host, at) => server(host, targets[at])).join("")}
}
`;
}
