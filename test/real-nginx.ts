import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { freePort } from "../demo/free-port.ts";
import { findNginx } from "../demo/nginx.ts";

export interface NginxOptions {
  /** What stands in `http { }`, given the folder of this run and the port it should listen on. */
  readonly http: (directory: string, port: number) => string;
  /** Written into the run's folder before the start. */
  readonly files?: (
    directory: string,
  ) => readonly { readonly path: string; readonly text: string; readonly mode?: number }[];
}

export interface RealNginx {
  readonly port: number;
  readonly directory: string;
  /** Everything written to the error log so far. */
  errors(): string;
  /** Stops it and resolves when it is gone; only then is an access log complete. */
  stop(): Promise<void>;
  /** Text of a file in the run's folder. */
  read(path: string): string;
  /** Removes the run's folder. */
  remove(): void;
}

async function prepare(options: NginxOptions): Promise<{ directory: string; port: number; args: string[] }> {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-nginx-"));
  const port = await freePort();
  for (const file of options.files?.(directory) ?? []) {
    mkdirSync(dirname(join(directory, file.path)), { recursive: true });
    writeFileSync(join(directory, file.path), file.text, { mode: file.mode ?? 0o644 });
  }
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const config = `
${process.getuid?.() === 0 ? "user root;" : ""}
daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log stderr notice;
events { }
http {
  ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join("\n  ")}
  access_log off;
${options.http(directory, port)}
}
`;
  writeFileSync(join(directory, "nginx.conf"), config);
  return { directory, port, args: ["-p", directory, "-e", "stderr", "-c", join(directory, "nginx.conf")] };
}

/** What `nginx -t` says of a configuration. */
export async function testNginx(options: NginxOptions): Promise<{ readonly ok: boolean; readonly output: string }> {
  const { directory, args } = await prepare(options);
  const result = spawnSync(findNginx(), [...args, "-t"], { encoding: "utf8" });
  rmSync(directory, { recursive: true });
  return { ok: result.status === 0, output: result.stderr };
}

/** A running nginx with its own folder, port and logs. Rejects with its error log when it does not start. */
export async function startNginx(options: NginxOptions): Promise<RealNginx> {
  const { directory, port, args } = await prepare(options);
  const child = spawn(findNginx(), args, { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.setEncoding("utf8");
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    const failed = () => {
      rmSync(directory, { recursive: true, force: true });
      reject(new Error(`nginx did not start:\n${log}`));
    };
    child.once("exit", failed);
    child.stderr.on("data", (text: string) => {
      log += text;
      // Its sockets listen before the first worker is started.
      if (!/start worker process \d+/.test(log)) return;
      child.removeListener("exit", failed);
      resolve();
    });
  });
  return {
    port,
    directory,
    errors: () => log,
    stop: () => stop(child, gone),
    read: (path) => readFileSync(join(directory, path), "utf8"),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

function stop(child: ChildProcess, gone: Promise<void>): Promise<void> {
  if (child.exitCode === null) child.kill("SIGTERM");
  return gone;
}
