import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { findEnvoy } from "../demo/envoy.ts";

export interface EnvoyOptions {
  /** The bootstrap as JSON, given the folder of this run. Listeners may say port 0; `admin` and `node` are added where absent. */
  readonly config: (directory: string) => Readonly<Record<string, unknown>>;
  /** Written into the run's folder before the start. */
  readonly files?: (
    directory: string,
  ) => readonly { readonly path: string; readonly text: string; readonly mode?: number }[];
  /** Worker threads; 1 unless said. */
  readonly concurrency?: number;
}

export interface RealEnvoy {
  readonly directory: string;
  readonly adminPort: number;
  /** The port a listener really has, by its name; the only listener's where no name is given. */
  port(listener?: string): number;
  /** Body of an admin page: `/stats?filter=ext_authz`, `/config_dump`, `/ready`. */
  admin(path: string, method?: "GET" | "POST"): Promise<string>;
  /** Value of a counter or gauge; 0 where it was never touched. */
  stat(name: string): Promise<number>;
  /** Everything it logged about itself so far. */
  log(): string;
  /** Text of a file in the run's folder. */
  read(path: string): string;
  /** Stops it and resolves when it is gone; only then is an access log complete. */
  stop(): Promise<void>;
  /** Removes the run's folder. */
  remove(): void;
}

/** What `envoy --mode validate` says of a configuration. */
export function validateEnvoy(options: EnvoyOptions): { readonly ok: boolean; readonly output: string } {
  const { directory, args } = prepare(options);
  const result = spawnSync(findEnvoy(), [...args, "--mode", "validate"], { encoding: "utf8" });
  rmSync(directory, { recursive: true });
  return { ok: result.status === 0, output: `${result.stdout}${result.stderr}` };
}

/** A running Envoy with its own folder, ports and logs. Rejects with its log when it does not start. */
export async function startEnvoy(options: EnvoyOptions): Promise<RealEnvoy> {
  const { directory, args } = prepare(options);
  const logFile = openSync(join(directory, "envoy.log"), "a");
  const child = spawn(findEnvoy(), args, { stdio: ["ignore", logFile, logFile] });
  closeSync(logFile);
  const log = () => readFileSync(join(directory, "envoy.log"), "utf8");
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    await gone;
  };
  try {
    const adminPort = await ready(directory, child);
    const ports = await listenerPorts(adminPort);
    return {
      directory,
      adminPort,
      port: (listener) => portOf(ports, listener),
      admin: (path, method) => admin(adminPort, path, method),
      stat: async (name) => {
        const text = await admin(adminPort, `/stats?filter=^${name.replaceAll(".", "%5C.")}$`);
        return Number(/: (\d+)/.exec(text)?.[1] ?? 0);
      },
      log,
      read: (path) => readFileSync(join(directory, path), "utf8"),
      stop,
      remove: () => rmSync(directory, { recursive: true, force: true }),
    };
  } catch (error) {
    await stop();
    const text = log();
    rmSync(directory, { recursive: true, force: true });
    throw new Error(`envoy did not start (${error instanceof Error ? error.message : "?"}):\n${text}`);
  }
}

function prepare({ config, files, concurrency = 1 }: EnvoyOptions): { directory: string; args: string[] } {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-envoy-"));
  for (const file of files?.(directory) ?? []) {
    mkdirSync(dirname(join(directory, file.path)), { recursive: true });
    writeFileSync(join(directory, file.path), file.text, { mode: file.mode ?? 0o644 });
  }
  const bootstrap = {
    node: { id: "envoy-of-a-test", cluster: "test" },
    admin: { address: { socket_address: { address: "127.0.0.1", port_value: 0 } } },
    ...config(directory),
  };
  writeFileSync(join(directory, "envoy.json"), JSON.stringify(bootstrap));
  const args = ["-c", join(directory, "envoy.json"), "--concurrency", String(concurrency), "--disable-hot-restart"];
  return { directory, args: [...args, "-l", "warning", "--admin-address-path", join(directory, "admin")] };
}

/** Resolves with the admin port once every listener takes connections; bounded by the test's own time. */
async function ready(directory: string, child: ChildProcess): Promise<number> {
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`exit status ${child.exitCode}`);
    const port = adminPort(directory);
    if (port !== undefined && (await admin(port, "/ready").catch(() => "")).startsWith("LIVE")) return port;
    await delay(10);
  }
}

function adminPort(directory: string): number | undefined {
  try {
    const text = /:(\d+)$/.exec(readFileSync(join(directory, "admin"), "utf8").trim())?.[1];
    return text === undefined ? undefined : Number(text);
  } catch {
    return undefined; // not written yet
  }
}

function admin(port: number, path: string, method: "GET" | "POST" = "GET"): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path, method, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve(body));
    });
    asked.once("error", reject);
    asked.end();
  });
}

type Ports = ReadonlyMap<string, number>;

async function listenerPorts(adminPort: number): Promise<Ports> {
  const { listener_statuses: listeners = [] } = JSON.parse(await admin(adminPort, "/listeners?format=json"));
  return new Map(
    listeners.map(
      ({ name, local_address }: { name: string; local_address: { socket_address?: { port_value: number } } }) => [
        name,
        local_address.socket_address?.port_value ?? 0,
      ],
    ),
  );
}

function portOf(ports: Ports, listener: string | undefined): number {
  const found = listener === undefined && ports.size === 1 ? [...ports.values()][0] : ports.get(listener ?? "");
  if (found === undefined) throw new TypeError(`listeners are ${[...ports.keys()].join(", ") || "none"}`);
  return found;
}
