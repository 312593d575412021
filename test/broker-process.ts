import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** A broker as operators run it: `wayleave serve` in a process of its own. */
export interface BrokerProcess {
  /** Everything it wrote on stdout and stderr so far. */
  output(): string;
  /** Resolves when the process is gone. */
  kill(signal: "SIGKILL" | "SIGTERM" | "SIGHUP"): Promise<void>;
}

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

/** Resolves when it listens; rejects with what it said when it ends before that. */
export async function startBrokerProcess(configPath: string): Promise<BrokerProcess> {
  const args = ["--disable-warning=ExperimentalWarning", main, "serve", "--config", configPath];
  // Twenty restarts of one installation need not compile the same sources twenty times.
  const env = { PATH: process.env.PATH, NODE_COMPILE_CACHE: join(dirname(configPath), "compile-cache") };
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], env });
  const exited = once(child, "exit");
  let output = "";
  const listening = new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (/listens +http/.test(output)) resolve();
      });
    }
  });
  await Promise.race([
    listening,
    exited.then(([code]) => Promise.reject(new Error(`the broker ended with ${code}:\n${output}`))),
  ]);
  return {
    output: () => output,
    async kill(signal) {
      child.kill(signal); // one that is gone already stays gone
      if (signal !== "SIGHUP") await exited;
    },
  };
}
