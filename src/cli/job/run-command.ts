import { spawn } from "node:child_process";
import { constants } from "node:os";
import { WayleaveError } from "../../core/errors.ts";

const forwarded = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;

/**
 * Runs a command on our own stdin, stdout and stderr, passing signals on, and gives the status a shell would: its own, or 128
 * and the signal's number. Throws `invalid_request` where it cannot be started.
 */
export async function runCommand(command: readonly string[], env: NodeJS.ProcessEnv, cwd: string): Promise<number> {
  const [file = "", ...args] = command;
  const child = spawn(file, args, { env, cwd, stdio: "inherit" });
  // A terminal sends Ctrl-C to the whole foreground group; the command has it already.
  const pass = (signal: NodeJS.Signals) => {
    if (!(signal === "SIGINT" && process.stdin.isTTY)) child.kill(signal);
  };
  for (const signal of forwarded) process.on(signal, pass);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once("error", (cause: NodeJS.ErrnoException) => {
        const why = cause.code === "ENOENT" ? "was not found" : `cannot be started (${cause.code})`;
        reject(
          new WayleaveError("invalid_request", `The command ${JSON.stringify(file)} ${why}. Check it and PATH.`, {
            cause,
          }),
        );
      });
      child.once("exit", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
    });
  } finally {
    for (const signal of forwarded) process.off(signal, pass);
  }
}
