import { type ChildProcess, fork, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** A process under measurement: on a core of its own, where the machine has two and `taskset`. */
export interface MeasuredProcess {
  readonly port: number;
  readonly pid: number;
  /** SIGTERM by message, and gone when it resolves. */
  stop(): Promise<void>;
}

/** Processor time so far, µs, as the kernel's scheduler counted it. */
export interface ProcessorTime {
  /** The thread that runs the event loop. */
  readonly main: number;
  /** Every other: file writes, index, garbage collection, compiler. */
  readonly others: number;
}

const cores = availableParallelism();
/** The measured process has this one; everybody else the others. */
const measuredCore = cores - 1;

/**
 * Forks a script of this folder that sends `{port}` when it is ready and ends at the message `stop`. With `PROFILE` set to
 * a folder it leaves a CPU profile there.
 */
export async function startMeasured(script: string, args: readonly string[]): Promise<MeasuredProcess> {
  const profile = process.env.PROFILE;
  const child = fork(new URL(script, import.meta.url), args, {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    execArgv: profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`, "--cpu-prof-interval=500"],
  });
  const pid = child.pid ?? 0;
  endWithUs(pid);
  const port = await readyOn(child, script);
  pin(pid, String(measuredCore));
  return {
    port,
    pid,
    stop: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve());
        child.send("stop");
      }),
  };
}

function readyOn(child: ChildProcess, script: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("message", (message) => resolve((message as { port: number }).port));
    child.once("exit", (code) => reject(new Error(`${script} ended with ${code}`)));
  });
}

/** A benchmark that fails leaves nothing behind. */
export function endWithUs(pid: number): void {
  process.once("exit", () => {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it has gone already
    }
  });
}

/** Keeps a process that only serves the measurement off the measured core. False where that cannot be done. */
export function keepAway(pid: number): boolean {
  return pin(pid, cores === 2 ? "0" : `0-${measuredCore - 1}`);
}

function pin(pid: number, list: string): boolean {
  if (cores < 2) return false;
  return spawnSync("taskset", ["-acp", list, String(pid)], { stdio: "ignore" }).status === 0;
}

/** Of all threads that there are now: a thread that ended in between is not in it. */
export function processorTime(pid: number): ProcessorTime {
  let [main, others] = [0, 0];
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const [ns = "0"] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ");
    const us = Number(ns) / 1000;
    if (Number(thread) === pid) main += us;
    else others += us;
  }
  return { main, others };
}

export function since(pid: number, before: ProcessorTime): ProcessorTime {
  const now = processorTime(pid);
  return { main: now.main - before.main, others: now.others - before.others };
}

/** Resident memory, bytes. */
export function memoryOf(pid: number): number {
  const [, pages = "0"] = readFileSync(`/proc/${pid}/statm`, "utf8").split(" ");
  return Number(pages) * 4096;
}
