import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

/** What a process left behind. */
export interface Done {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** A running process of a job, with a group of its own as a runner gives it. */
export interface JobProcess {
  /** Writes one line to its stdin and resolves with the next line of its stdout. Rejects when it exits instead. */
  ask(line: string): Promise<string>;
  /** The next line of its stdout. */
  line(): Promise<string>;
  /** Closes stdin and waits for the end. */
  finish(): Promise<Done>;
  /** `kill -9` for the whole group, as when the runner's machine dies; resolves when the process is gone. */
  killGroup(): Promise<void>;
}

export type JobEnv = Readonly<Record<string, string>>;

/** `wayleave …` in a job: a real process of the CLI. */
export function startWayleave(env: JobEnv, ...args: readonly string[]): JobProcess {
  return start(process.execPath, ["--disable-warning=ExperimentalWarning", main, ...args], env);
}

/** The same, without input, to its end. */
export function wayleave(env: JobEnv, ...args: readonly string[]): Promise<Done> {
  return startWayleave(env, ...args).finish();
}

/** Any program with exactly this environment, to its end. */
export function run(program: string, args: readonly string[], env: JobEnv): Promise<Done> {
  return start(program, args, env).finish();
}

/**
 * The arguments of an `exec` whose command obeys the lines of its stdin: `<method> <path>` makes one request to the
 * billing API through its listener and prints the status; `token` prints the access token.
 */
export function execRequests(edgeUrl: string): readonly string[] {
  const request = 'curl -s -o /dev/null -w "%{http_code}\\n" -X "$method" "$WAYLEAVE_BILLING_URL$path"';
  const obey = `case $method in token) cat "$WAYLEAVE_TOKEN_FILE"; echo ;; *) ${request} ;; esac`;
  const loop = `while read -r method path; do ${obey}; done`;
  return ["exec", "--target", `billing=${edgeUrl}`, "--", "sh", "-c", loop];
}

function start(program: string, args: readonly string[], env: JobEnv): JobProcess {
  // Detached: a process group of its own, so that killing it spares the test.
  const child = spawn(program, args, { env, detached: true, stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.on("error", () => undefined); // it exited first: told by its status
  let out = "";
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  const lines = createInterface({ input: child.stdout });
  const unread: string[] = [];
  const readers: ((line: string) => void)[] = [];
  lines.on("line", (text) => {
    out += `${text}\n`;
    const reader = readers.shift();
    if (reader === undefined) unread.push(text);
    else reader(text);
  });
  const closed = exit(child);

  const line = async () => {
    const next = unread.shift();
    if (next !== undefined) return next;
    const failed = closed.then((status) => {
      throw new Error(`the process exited with ${status} instead of answering: ${err}`);
    });
    return Promise.race([new Promise<string>((resolve) => readers.push(resolve)), failed]);
  };
  return {
    line,
    ask(text) {
      child.stdin.write(`${text}\n`);
      return line();
    },
    async finish() {
      child.stdin.end();
      const status = await closed;
      return { status, out, err };
    },
    async killGroup() {
      if (child.pid === undefined) throw new TypeError("the process never started");
      process.kill(-child.pid, "SIGKILL");
      await closed;
    },
  };
}

async function exit(child: ChildProcess): Promise<number | null> {
  const [status] = (await once(child, "close")) as [number | null];
  return status;
}
