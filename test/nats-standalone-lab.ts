import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "yaml";
import { freePort } from "../demo/free-port.ts";
import { startNatsServer } from "../demo/nats-server.ts";
import type { AuditRecord } from "../src/core/record.ts";
import { type CrashCi, startCrashCi } from "./broker-crash-load.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { type BrokerProcess, startBrokerProcess } from "./broker-process.ts";
import { askOperator } from "./operator.ts";

const policy = `version: 1
targets:
  events: { nats: { account: CI } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  build: { for: [shop], allow: { events: ["pub build.>", "sub build.>"] } }
`;

/** A broker, a NATS gateway and a nats-server, each a process of its own, and a GitLab whose jobs use them. */
export interface StandaloneLab {
  readonly ci: CrashCi;
  readonly url: string;
  /** Where jobs connect. */
  readonly gatewayPort: number;
  broker(): BrokerProcess;
  readonly gateway: Process;
  restartBroker(): Promise<void>;
  /** Records of these kinds, oldest first; what the broker knows now. */
  records(...kinds: readonly string[]): Promise<readonly AuditRecord[]>;
  close(): Promise<void>;
}

export interface Process {
  output(): string;
  readonly exited: Promise<number | null>;
  kill(signal: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): void;
}

export async function standaloneLab(): Promise<StandaloneLab> {
  const cleanups: (() => unknown)[] = [];
  const close = async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  };
  try {
    return await openLab(cleanups, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function openLab(cleanups: (() => unknown)[], close: () => Promise<void>): Promise<StandaloneLab> {
  const { installation, ci } = await install(cleanups);
  const { configPath, directory, url, adminSocket } = installation;
  const natsPort = await freePort();
  const config = parse(readFileSync(configPath, "utf8")) as Record<string, unknown>;
  const gateway = { name: "jobs", kind: "nats", targets: ["events"], secret_file: "edge-1.secret" };
  const servers = [`nats://127.0.0.1:${natsPort}`];
  writeFileSync(configPath, stringify({ ...config, gateways: [{ ...gateway, servers, standalone: true }] }));
  let broker = await startBrokerProcess(configPath);
  cleanups.push(() => broker.kill("SIGKILL"));
  const ask = async <T>(path: string) => (await askOperator<T>({ broker: { adminSocket } }, "GET", path)).body;

  const folder = join(directory, "nats");
  mkdirSync(folder);
  const query = new URLSearchParams({ data: join(folder, "data") }).toString();
  const { files } = await ask<{ files: readonly { path: string; text: string }[] }>(`/v1/gateways/jobs/nats?${query}`);
  for (const { path, text } of files) writeFileSync(join(folder, path), text);
  const nats = await startNatsServer({ directory: folder, config: "nats-server.conf", port: natsPort });
  cleanups.push(nats.stop);

  const running = startGateway(directory, [
    ...["--gateway", "jobs", "--broker", url, "--secret-file", join(directory, "edge-1.secret")],
    ...["--listen", "127.0.0.1:0"],
  ]);
  cleanups.push(async () => {
    running.kill("SIGKILL");
    await running.exited;
  });
  return {
    ci,
    url,
    gatewayPort: await portOf(running),
    gateway: running,
    broker: () => broker,
    async restartBroker() {
      broker = await startBrokerProcess(configPath);
    },
    async records(...kinds) {
      const pages = kinds.map((kind) =>
        ask<{ records: readonly AuditRecord[] }>(`/v1/records?kind=${kind}&limit=1000`),
      );
      return (await Promise.all(pages)).flatMap(({ records }) => records).toSorted((a, b) => a.seq - b.seq);
    },
    close,
  };
}

async function install(cleanups: (() => unknown)[]): Promise<{ installation: BrokerInstallation; ci: CrashCi }> {
  const found: CrashCi[] = [];
  const installation = await installBroker({
    policy,
    targets: [],
    ci: async (url) => {
      const started = await startCrashCi(url);
      cleanups.push(() => started.gitlab.close());
      found.push(started);
      return started.part;
    },
  });
  cleanups.push(installation.remove);
  const [ci] = found;
  if (ci === undefined) throw new TypeError("the installation has a CI");
  return { installation, ci };
}

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

function startGateway(directory: string, options: readonly string[]): Process {
  const args = ["--disable-warning=ExperimentalWarning", main, "nats-gateway", ...options];
  const env = { PATH: process.env.PATH, NODE_COMPILE_CACHE: join(dirname(directory), "compile-cache") };
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], env });
  const exited = once(child, "exit").then(([code]) => code as number | null);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  return { output: () => output, exited, kill: (signal) => void child.kill(signal) };
}

async function portOf(gateway: Process): Promise<number> {
  let gone = false;
  void gateway.exited.then(() => {
    gone = true;
  });
  for (;;) {
    const [, port] = /takes jobs at nats:\/\/127\.0\.0\.1:(\d+)/.exec(gateway.output()) ?? [];
    if (port !== undefined) return Number(port);
    if (gone) throw new Error(`the gateway ended:\n${gateway.output()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
