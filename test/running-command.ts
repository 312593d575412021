import { execFile, spawn } from "node:child_process";

/** A command that stays: a broker, an NGINX, a tail. */
export interface RunningCommand {
  /** Resolves as soon as the pattern is in what it has said; rejects when it ends before. */
  said(pattern: RegExp): Promise<void>;
  /** Everything on stdout and stderr so far. */
  output(): string;
  /** Asks it to stop and resolves when it is gone. */
  stop(): Promise<void>;
}

interface Where {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Starts one simple command by the shell's own words. */
export function startCommand(command: string, where: Where): RunningCommand {
  const child = spawn("sh", ["-c", `exec ${command}`], { ...where, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (more: string) => {
      text += more;
      for (const listener of listeners) listener();
    });
  }
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    output: () => text,
    said: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!pattern.test(text)) return;
          listeners.delete(look);
          resolve();
        };
        listeners.add(look);
        void gone.then(() => reject(new Error(`"${command}" ended before it said ${pattern}:\n${text}`)));
        look();
      }),
    stop: async () => {
      if (child.exitCode === null) child.kill("SIGTERM");
      await gone;
    },
  };
}

/** Runs a script to its end; its first failing command ends it. Output is stdout and stderr as they came. */
export function runScript(script: string, where: Where): Promise<{ readonly status: number; readonly output: string }> {
  return new Promise((resolve) => {
    execFile("sh", ["-ec", `exec 2>&1\n${script}`], { ...where, timeout: 60_000 }, (error, output) =>
      resolve({ status: typeof error?.code === "number" ? error.code : error === null ? 0 : 1, output }),
    );
  });
}
