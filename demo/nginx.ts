import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** A real NGINX running in the foreground. */
export interface RunningNginx {
  /** Stops it and resolves when it is gone; only then is its access log complete. */
  stop(): Promise<void>;
}

const root = fileURLToPath(new URL("..", import.meta.url));

/** The nginx binary: `WAYLEAVE_NGINX`, the one that `make` installed, or PATH's. Throws with the way to get one. */
export function findNginx(): string {
  const path = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "nginx"));
  const candidates = [process.env.WAYLEAVE_NGINX, join(root, ".cache/servers/bin/nginx"), ...path, "/usr/sbin/nginx"];
  const found = candidates.find((candidate) => candidate !== undefined && executable(candidate));
  if (found !== undefined) return found;
  throw new Error("no nginx: run `make setup`, put one on PATH, or set WAYLEAVE_NGINX to its path");
}

/** Its version, `1.31.3`. */
export function nginxVersion(): string {
  const { stderr } = spawnSync(findNginx(), ["-v"], { encoding: "utf8" });
  return /nginx\/([\d.]+)/.exec(stderr)?.[1] ?? "of an unknown version";
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // absent or not executable: the next candidate
  }
}

/** Starts NGINX on a configuration that says `daemon off` and logs errors to `error.log` in the folder. */
export async function startNginx(options: { directory: string; config: string }): Promise<RunningNginx> {
  const { directory } = options;
  const args = ["-p", directory, "-e", join(directory, "error.log"), "-c", join(directory, options.config)];
  const checked = spawnSync(findNginx(), [...args, "-t"], { encoding: "utf8" });
  if (checked.status !== 0) throw new Error(`nginx refuses its configuration:\n${checked.stderr}`);
  const child = spawn(findNginx(), args, { stdio: "ignore" });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await Promise.race([
    listening(join(directory, options.config)),
    exited.then(async () => {
      throw new Error(`nginx did not start:\n${await readFile(join(directory, "error.log"), "utf8")}`);
    }),
  ]);
  return { stop: () => stop(child, exited) };
}

/** Resolves when every port the configuration listens on takes connections; bounded by the caller's own time. */
async function listening(config: string): Promise<void> {
  const text = await readFile(config, "utf8");
  const ports = new Set([...text.matchAll(/listen 127\.0\.0\.1:(\d+)/g)].map((match) => Number(match[1])));
  for (const port of ports) while (!(await connects(port))) await new Promise((resolve) => setTimeout(resolve, 10));
}

function connects(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function stop(child: ChildProcess, exited: Promise<void>): Promise<void> {
  if (child.exitCode === null) child.kill("SIGTERM");
  await exited;
}
