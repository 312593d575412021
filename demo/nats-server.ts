import { spawn, spawnSync } from "node:child_process";
import {
  accessSync,
  appendFileSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  watch,
} from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** A real nats-server. */
export interface RunningNatsServer {
  /** Where clients connect, `127.0.0.1:41234`. */
  readonly address: string;
  readonly port: number;
  /** Base of its monitoring endpoints; empty where the configuration has no `http`. */
  readonly monitoring: string;
  readonly pid: number;
  /** Everything it logged so far. */
  log(): string;
  /** Stops it and resolves when it is gone. */
  stop(): Promise<void>;
  /** SIGKILL: as a machine that dies. */
  kill(): Promise<void>;
}

const root = fileURLToPath(new URL("..", import.meta.url));

/** The nats-server binary: `WAYLEAVE_NATS_SERVER`, the one that `make` installed, or PATH's. Throws with the way to get one. */
export function findNatsServer(): string {
  const path = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "nats-server"));
  const candidates = [process.env.WAYLEAVE_NATS_SERVER, join(root, ".cache/servers/bin/nats-server"), ...path];
  const found = candidates.find((candidate) => candidate !== undefined && executable(candidate));
  if (found !== undefined) return found;
  throw new Error("no nats-server: run `make setup`, put one on PATH, or set WAYLEAVE_NATS_SERVER to its path");
}

/** Its version, `2.15.1`. */
export function natsServerVersion(): string {
  const { stdout } = spawnSync(findNatsServer(), ["--version"], { encoding: "utf8" });
  return /v([\d.]+)/.exec(stdout)?.[1] ?? "of an unknown version";
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // absent or not executable: the next candidate
  }
}

/**
 * Starts nats-server on a configuration file of the folder and resolves when it takes connections. The configuration says
 * neither `listen` nor `port`: it gets a free port of 127.0.0.1, or `port` where a restart must come back to the same one.
 * What it logs goes to `nats-server.log` in the folder.
 */
export async function startNatsServer(options: {
  readonly directory: string;
  readonly config: string;
  readonly port?: number;
  /** More arguments, such as `-m -1` for monitoring on a free port. */
  readonly args?: readonly string[];
}): Promise<RunningNatsServer> {
  const { directory } = options;
  const portsDir = join(directory, "ports");
  rmSync(portsDir, { recursive: true, force: true });
  mkdirSync(portsDir, { recursive: true });
  const args = ["-c", join(directory, options.config), "-a", "127.0.0.1", "-p", String(options.port ?? -1)];
  const child = spawn(findNatsServer(), [...args, "--ports_file_dir", portsDir, ...(options.args ?? [])], {
    stdio: ["ignore", "ignore", "pipe"],
    cwd: directory,
  });
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  let log = "";
  child.stderr.setEncoding("utf8");
  child.stderr.on("data", (text: string) => {
    log += text;
    appendFileSync(join(directory, "nats-server.log"), text);
  });
  const ports = await portsOf(child, portsDir, () => log);
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    await exited;
  };
  const [client = ""] = ports.nats;
  return {
    address: client.replace(/^nats:\/\//, ""),
    port: Number(new URL(client).port),
    monitoring: ports.monitoring?.[0] ?? "",
    pid: child.pid ?? 0,
    log: () => log,
    stop: () => end("SIGINT"),
    kill: () => end("SIGKILL"),
  };
}

interface Ports {
  readonly nats: readonly string[];
  readonly monitoring?: readonly string[];
}

/** It writes the file once it listens. */
function portsOf(child: ReturnType<typeof spawn>, directory: string, log: () => string): Promise<Ports> {
  return new Promise((resolve, reject) => {
    const look = () => {
      const name = existsSync(directory) ? readdirSync(directory).find((file) => file.endsWith(".ports")) : undefined;
      const text = name === undefined ? "" : readFileSync(join(directory, name), "utf8");
      if (!text.trimEnd().endsWith("}")) return;
      watcher.close();
      child.removeListener("exit", failed);
      resolve(JSON.parse(text) as Ports);
    };
    const failed = () => {
      watcher.close();
      reject(new Error(`nats-server did not start:\n${log().slice(-4000)}`));
    };
    const watcher = watch(directory, look);
    child.once("error", reject);
    child.once("exit", failed);
    look();
  });
}
