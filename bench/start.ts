import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "../scripts/build.ts";
import { machine, percentile, table } from "./machine.ts";

/** What a command costs before it does anything: Node alone, the package, and the sources of a checkout. */
const rounds = 30;

const folder = mkdtempSync(join(tmpdir(), "wayleave-start-"));
try {
  console.log(`start of the command line, ${rounds} times each, in turn\n${machine()}\n`);
  await build(join(folder, "dist"));
  const packed = join(folder, "dist", "main.js");
  const source = fileURLToPath(new URL("../src/main.ts", import.meta.url));
  const commands: readonly (readonly [what: string, args: readonly string[]])[] = [
    ["node -e 0", ["-e", "0"]],
    ["package: wayleave --version", [packed, "--version"]],
    ["package: wayleave exec --help", [packed, "exec", "--help"]],
    ["sources: wayleave --version", ["--disable-warning=ExperimentalWarning", source, "--version"]],
  ];
  const took = commands.map((): number[] => []);
  for (let round = -2; round < rounds; round++) {
    for (const [at, [, args]] of commands.entries()) {
      const ms = startMs(args);
      if (round >= 0) took[at]?.push(ms); // the first two fill the disk's cache
    }
  }
  const rows = commands.map(([what], at) => {
    const sorted = (took[at] ?? []).toSorted((a, b) => a - b);
    return [what, ...[0.5, 0.9].map((part) => percentile(sorted, part).toFixed(0))];
  });
  console.log(table([["", "p50 ms", "p90 ms"], ...rows]));
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function startMs(args: readonly string[]): number {
  const began = performance.now();
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (status !== 0) throw new TypeError(`${args.join(" ")} ended with ${status}: ${stderr}`);
  return performance.now() - began;
}
