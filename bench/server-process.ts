import { type ChildProcess, fork } from "node:child_process";
import { createServer } from "node:http";
import { pino } from "pino";
import { loadConfig } from "../src/config/load.ts";
import { startServer } from "../src/server.ts";

/**
 * A server in a process of its own, so that the load does not share its event loop: `bare` answers 200 to everything
 * with node:http; anything else is the path of a broker's configuration.
 */
export interface ServerProcess {
  readonly port: number;
  /** Milliseconds from start of the process to listening. */
  readonly readyMs: number;
  /** Resident memory now, bytes, and processor time used so far by all its threads, µs. */
  usage(): Promise<{ readonly memory: number; readonly cpu: number }>;
  stop(): Promise<void>;
}

interface Message {
  readonly port?: number;
  readonly memory?: number;
  readonly cpu?: number;
}

export async function startProcess(what: string): Promise<ServerProcess> {
  const start = performance.now();
  const child = fork(new URL(import.meta.url), [what], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const { port = 0 } = await next(child);
  return {
    port,
    readyMs: performance.now() - start,
    async usage() {
      child.send("usage");
      const { memory = Number.NaN, cpu = Number.NaN } = await next(child);
      return { memory, cpu };
    },
    stop: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve());
        child.send("stop");
      }),
  };
}

function next(child: ChildProcess): Promise<Message> {
  return new Promise((resolve, reject) => {
    child.once("message", (message) => resolve(message as Message));
    child.once("exit", (code) => reject(new Error(`the server process ended with ${code}`)));
  });
}

async function run(what: string): Promise<void> {
  const { port, stop } = what === "bare" ? await bare() : await broker(what);
  process.send?.({ port });
  process.on("message", (message) => {
    if (message === "usage") process.send?.({ memory: process.memoryUsage.rss(), cpu: cpuTime() });
    else void stop().then(() => process.disconnect());
  });
}

function cpuTime(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function bare(): Promise<{ port: number; stop: () => Promise<void> }> {
  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-length": "0" });
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { port: typeof address === "object" && address !== null ? address.port : 0, stop };
}

async function broker(configPath: string): Promise<{ port: number; stop: () => Promise<void> }> {
  const loaded = loadConfig({ path: configPath, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  const server = await startServer(loaded.config, { log: pino({ level: "silent" }) });
  return { port: loaded.config.listen.port, stop: server.close };
}

const [, script, what] = process.argv;
if (script === new URL(import.meta.url).pathname && what !== undefined) await run(what);
