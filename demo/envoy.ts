import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { accessSync, appendFileSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** A real Envoy. */
export interface RunningEnvoy {
  /** Stops it and resolves when it is gone; only then is its access log complete. */
  stop(): Promise<void>;
}

const root = fileURLToPath(new URL("..", import.meta.url));

/** The envoy binary: `WAYLEAVE_ENVOY`, the one that `make` installed, or PATH's. Throws with the way to get one. */
export function findEnvoy(): string {
  const path = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "envoy"));
  const candidates = [process.env.WAYLEAVE_ENVOY, join(root, ".cache/servers/bin/envoy"), ...path];
  const found = candidates.find((candidate) => candidate !== undefined && executable(candidate));
  if (found !== undefined) return found;
  throw new Error("no envoy: run `make setup`, put one on PATH, or set WAYLEAVE_ENVOY to its path");
}

/** Its version, `1.40.0`. */
export function envoyVersion(): string {
  const { stdout } = spawnSync(findEnvoy(), ["--version"], { encoding: "utf8" });
  return /\/([\d.]+)\//.exec(stdout)?.[1] ?? "of an unknown version";
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
 * Starts Envoy on a configuration file and resolves when its listeners take connections, which is after everything they
 * wait for (certificates, keys, lists) has come. What it logs goes to `envoy.log` in the folder.
 */
export async function startEnvoy(options: { directory: string; config: string }): Promise<RunningEnvoy> {
  const { directory } = options;
  const args = ["-c", join(directory, options.config), "--concurrency", "1", "--disable-hot-restart", ...quiet];
  const child = spawn(findEnvoy(), args, { stdio: ["ignore", "ignore", "pipe"], cwd: directory });
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  let log = "";
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    const failed = () => reject(new Error(`envoy did not start:\n${log.slice(-4000)}`));
    child.once("exit", failed);
    child.stderr.setEncoding("utf8");
    child.stderr.on("data", (text: string) => {
      appendFileSync(join(directory, "envoy.log"), text);
      if (log.includes(ready)) return;
      log += text;
      if (!log.includes(ready)) return;
      child.removeListener("exit", failed);
      resolve();
    });
  });
  return { stop: () => stop(child, exited) };
}

const quiet = ["--log-level", "warning", "--component-log-level", "config:info"];

/** Logged once the first listeners are warm. */
const ready = "all dependencies initialized. starting workers";

async function stop(child: ChildProcess, exited: Promise<void>): Promise<void> {
  if (child.exitCode === null) child.kill("SIGTERM");
  await exited;
}
