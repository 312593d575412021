import { randomBytes } from "node:crypto";
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { Agent, request } from "undici";
import { stringify } from "yaml";
import type { Config, NatsGatewayConfig } from "../src/config/config.ts";
import { loadConfig } from "../src/config/load.ts";
import type { NatsStatusResponse } from "../src/gateway/nats/status.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import type { SessionTimings } from "../src/session/ports.ts";
import { freePort } from "./free-port.ts";
import { createPrivateCa } from "./gitlab/certificate.ts";
import { createJobClient, type JobClient } from "./job-client.ts";
import { type RunningNatsServer, startNatsServer } from "./nats-server.ts";
import { startWayleave, type WayleaveProcess } from "./wayleave-process.ts";
import type { CiPart } from "./world.ts";

/** An installation with NATS in one folder: broker with its gateway, and a real nats-server that asks it. The CI is the caller's. */
export interface NatsWorld {
  readonly directory: string;
  readonly config: Config;
  readonly configPath: string;
  readonly brokerUrl: string;
  /** Where jobs connect: the gateway. */
  readonly natsUrl: string;
  /** The server behind it: what a job must never get to. */
  readonly server: RunningNatsServer;
  readonly client: JobClient;
  /** Present while the broker runs in this process. */
  readonly broker: RunningServer | undefined;
  /** Present while the broker runs as a process of its own. */
  readonly process: WayleaveProcess | undefined;
  /** SIGKILL where it is a process; otherwise a stop. */
  killBroker(): Promise<void>;
  startBroker(): Promise<void>;
  /** Asks the broker as its operator. */
  operator<T>(path: string): Promise<T>;
  /** Resolves with the newest record of a kind, once there is one. */
  until<Data>(kind: string): Promise<{ readonly id: string; readonly data: Data }>;
  /** Resolves when the broker has reached the server, and answers it. */
  ready(): Promise<void>;
  stopServer(): Promise<void>;
  /** On the port it had. */
  restartServer(): Promise<void>;
  close(): Promise<void>;
}

export interface NatsWorldOptions {
  /** Emptied and filled. */
  readonly directory: string;
  readonly ci: (brokerUrl: string, ca: ReturnType<typeof createPrivateCa>) => Promise<CiPart>;
  /** A policy file. Default: the demo's. */
  readonly policy?: string;
  readonly gateway?: Readonly<Record<string, unknown>> & {
    readonly authentication?: NatsGatewayConfig["authentication"];
  };
  /** More top-level keys of wayleave.yaml. */
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly timings?: Partial<SessionTimings>;
  /** Runs the broker as `wayleave serve` in a process of its own, which can be killed. */
  readonly process?: boolean;
}

const policyPath = fileURLToPath(new URL("nats-policy.yaml", import.meta.url));

/** Installs as an operator would: `wayleave.yaml`, `wayleave serve`, `wayleave render nats`, nats-server. */
export async function startNatsWorld(options: NatsWorldOptions): Promise<NatsWorld> {
  const { directory } = options;
  await rm(directory, { recursive: true, force: true });
  await mkdir(join(directory, "nats"), { recursive: true, mode: 0o700 });
  const ca = createPrivateCa(Date.now());
  const [brokerPort, gatewayPort, serverPort] = [await freePort(), await freePort(), await freePort()];
  const brokerUrl = `http://127.0.0.1:${brokerPort}`;
  const ci = await options.ci(brokerUrl, ca);
  const configPath = await writeInstallation(options, ci, ca.ca, { brokerUrl, brokerPort, gatewayPort, serverPort });
  const config = readConfig(configPath);
  const broker = brokerOf(options, config);
  const started: (() => Promise<void>)[] = [broker.stop];
  const close = async () => {
    for (const stop of started.splice(0).toReversed()) await stop();
  };
  try {
    await broker.start();
    const folder = join(directory, "nats");
    await startWayleave(
      ["render", "nats", "--config", configPath, "--out", folder, "--data", join(folder, "data")],
      directory,
    ).exited(0);
    const start = () => startNatsServer({ directory: folder, config: "nats-server.conf", port: serverPort });
    let server = await start();
    started.unshift(() => server.stop());
    const client = createJobClient(brokerUrl, ca.ca);
    started.push(client.close);
    const operator = <T>(asked: string) => operatorGet<T>(join(config.dataDir, "admin.sock"), asked);
    const ready = () => untilReady(operator);
    await ready();
    return {
      operator,
      ready,
      until: (kind) => untilRecord(operator, kind),
      directory,
      config,
      configPath,
      brokerUrl,
      natsUrl: `nats://127.0.0.1:${gatewayPort}`,
      get server() {
        return server;
      },
      client,
      get broker() {
        return broker.inside();
      },
      get process() {
        return broker.outside();
      },
      killBroker: broker.kill,
      startBroker: broker.start,
      stopServer: () => server.stop(),
      async restartServer() {
        server = await start();
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function operatorGet<T>(socketPath: string, path: string): Promise<T> {
  const agent = new Agent({ connect: { socketPath } });
  try {
    const { body } = await request(`http://operator${path}`, { dispatcher: agent });
    return (await body.json()) as T;
  } finally {
    await agent.close();
  }
}

/** How often the broker is asked, and how long a server may take. */
const lookMs = 50;
const readyMs = 20_000;

async function untilReady(operator: NatsWorld["operator"]): Promise<void> {
  const until = performance.now() + readyMs;
  for (;;) {
    const { gateways } = await operator<NatsStatusResponse>("/v1/nats");
    const waiting = gateways.find(({ callout, system }) => !callout.answering || !system.connected);
    if (waiting === undefined) return;
    if (performance.now() > until) throw new Error(`nats-server was not reached: ${JSON.stringify(waiting)}`);
    await pause(lookMs);
  }
}

async function untilRecord<Data>(operator: NatsWorld["operator"], kind: string) {
  const until = performance.now() + readyMs;
  for (;;) {
    type Found = { readonly id: string; readonly data: Data };
    const { records } = await operator<{ records: readonly Found[] }>(`/v1/records?limit=1&kind=${kind}`);
    const [found] = records;
    if (found !== undefined) return found;
    if (performance.now() > until) throw new Error(`there is no record of kind ${kind}`);
    await pause(lookMs);
  }
}

function brokerOf({ process: apart, timings, directory }: NatsWorldOptions, config: Config) {
  let inside: RunningServer | undefined;
  let outside: WayleaveProcess | undefined;
  const stop = async () => {
    const [server, child] = [inside, outside];
    inside = undefined;
    outside = undefined;
    await server?.close();
    await child?.stop();
  };
  return {
    inside: () => inside,
    outside: () => outside,
    stop,
    async kill() {
      const child = outside;
      outside = undefined;
      await child?.kill();
      await stop();
    },
    async start() {
      if (apart === true) {
        outside = startWayleave(["serve", "--config", config.file], directory);
        await outside.said(/listens/);
        return;
      }
      const log = pino({ level: "warn" }, pino.destination({ dest: join(directory, "broker.log"), sync: true }));
      inside = await startServer(config, { log, ...(timings === undefined ? {} : { timings }) });
    },
  };
}

async function writeInstallation(
  options: NatsWorldOptions,
  ci: CiPart,
  ca: string,
  at: {
    readonly brokerUrl: string;
    readonly brokerPort: number;
    readonly gatewayPort: number;
    readonly serverPort: number;
  },
): Promise<string> {
  const { directory } = options;
  const secret = (name: string, text: string) => writeFile(join(directory, name), text, { mode: 0o600 });
  await secret("encryption.key", randomBytes(32).toString("base64"));
  await secret("bus.secret", randomBytes(24).toString("base64url"));
  await secret("ca.pem", ca);
  for (const [name, text] of Object.entries(ci.files)) await secret(name, text);
  await cp(options.policy ?? policyPath, join(directory, "policy.yaml"));
  const path = join(directory, "wayleave.yaml");
  const file = {
    issuer: at.brokerUrl,
    trust_domain: "acme.example",
    listen: { address: `127.0.0.1:${at.brokerPort}` },
    data: "./data",
    policy: "./policy.yaml",
    keys: { encryption_key_file: "encryption.key" },
    issuers: [ci.issuer],
    gateways: [
      {
        name: "bus",
        kind: "nats",
        targets: ["events"],
        secret_file: "bus.secret",
        listen: `127.0.0.1:${at.gatewayPort}`,
        servers: [`nats://127.0.0.1:${at.serverPort}`],
        ...options.gateway,
      },
    ],
    ...options.settings,
  };
  await writeFile(path, stringify(file, { aliasDuplicateObjects: false }));
  return path;
}

function readConfig(path: string): Config {
  const loaded = loadConfig({ path, env: process.env });
  if ("config" in loaded) return loaded.config;
  throw new Error(loaded.diagnostics.map((each) => `${each.place.line}: ${each.message}`).join("\n"));
}
