import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandIo } from "../command-io.ts";

export interface FakeIo extends CommandIo {
  /** What was printed. */
  out(): string;
  err(): string;
}

/** A job's surroundings: its own temporary folder, printed text kept, pauses that take no time. */
export function fakeIo(
  env: Readonly<Record<string, string>> = {},
  folder = mkdtempSync(join(tmpdir(), "wayleave-test-")),
): FakeIo {
  let out = "";
  let err = "";
  const runtime = join(folder, "run");
  mkdirSync(runtime, { recursive: true, mode: 0o700 });
  return {
    env: {
      PATH: process.env.PATH,
      CI_SERVER_URL: "https://gitlab.example",
      CI_JOB_ID: "7712",
      XDG_RUNTIME_DIR: runtime,
      ...env,
    },
    cwd: folder,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    now: Date.now,
    // What can be stopped waits to be stopped; a retry goes on at once.
    pause: (_, signal) =>
      new Promise((resolve) => {
        if (signal === undefined || signal.aborted) setImmediate(resolve);
        else signal.addEventListener("abort", () => resolve(), { once: true });
      }),
    out: () => out,
    err: () => err,
  };
}
