import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const wayleave = fileURLToPath(new URL("../bin/wayleave", import.meta.url));

/** A `wayleave` command in a process of its own. */
export interface WayleaveProcess {
  /** What it printed so far, both streams. */
  output(): string;
  /** Resolves with its output once it ends with this status; rejects for every other. */
  exited(status: number): Promise<string>;
  /** Resolves once its output has this; rejects where it ends before. */
  said(what: RegExp): Promise<void>;
  /** SIGKILL: as a machine that dies. */
  kill(): Promise<void>;
  /** Ends it, if it runs. */
  stop(): Promise<void>;
}

/** Starts a command of this checkout. */
export function startWayleave(
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): WayleaveProcess {
  const child = spawn(wayleave, args, {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", ...env },
  });
  let output = "";
  const heard = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      output += text;
      for (const listener of heard) listener();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  return {
    output: () => output,
    async exited(status) {
      const found = await ended;
      if (found === status) return output;
      throw new Error(`wayleave ${args.join(" ")} ended with ${found}, not ${status}:\n${output}`);
    },
    said: (what) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!what.test(output)) return;
          heard.delete(look);
          resolve();
        };
        heard.add(look);
        void ended.then(() => reject(new Error(`wayleave ${args.join(" ")} ended:\n${output}`)));
        look();
      }),
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
    async stop() {
      if (child.exitCode === null) child.kill("SIGTERM");
      await ended;
    },
  };
}
