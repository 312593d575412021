import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { findNatsServer } from "../demo/nats-server.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** A checkout of its own: the demo keeps its files in the one it runs from, where somebody's own demo may be running. */
function copyCheckout(): string {
  const copy = mkdtempSync(join(tmpdir(), "wayleave-demo-nats-"));
  onTestFinished(() => rmSync(copy, { recursive: true, force: true }));
  for (const part of ["bin", "demo", "packaging", "proto", "schemas", "scripts", "src", "package.json"])
    cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

/** How long the demo may take before it is told to stop, ms. */
const boundMs = 90_000;

function runDemo(
  directory: string,
): Promise<{ readonly status: number | null; readonly out: string; readonly err: string }> {
  const { PATH, HOME } = process.env;
  const child = spawn(join(directory, "bin/wayleave"), ["demo", "--gateway", "nats", "--once"], {
    cwd: directory,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: boundMs,
    env: {
      ...(PATH === undefined ? {} : { PATH }),
      ...(HOME === undefined ? {} : { HOME }),
      NO_COLOR: "1",
      WAYLEAVE_NATS_SERVER: findNatsServer(),
      NODE_COMPILE_CACHE: join(directory, "compile-cache"),
    },
  });
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => resolve({ status, out, err }));
  });
}

test(
  "the demo of NATS tells its whole story, each step with its record",
  async () => {
    const copy = copyCheckout();
    const { status, out, err } = await runDemo(copy);
    expect({ status, err }, out).toEqual({ status: 0, err: "" });
    const record = /rec_[0-9a-z]+$/;
    const steps = out.split("\n").filter((line) => /^ ?\d+ {2}\w/.test(line));
    expect(steps.map((line) => Number(line.slice(0, 2)))).toEqual(steps.map((_, at) => at + 1));
    // A kill of the broker is nobody's record.
    expect(steps.filter((line) => !record.test(line)).map((line) => /kill -9/.test(line))).toEqual([true]);
    const told = [
      /build .*acme\/shop #7712 connects/,
      /worker .*acme\/worker #7801 connects/,
      /worker .*sub build\.status\.>/,
      /build .*pub build\.status\.\d+\.started .*the worker hears it/,
      /build .*pub deploy\.production .*denied: no role/,
      /build .*req svc\.version .*the worker answers 1\.4\.2, \d+ ms/,
      /build .*pub build\.status\.\d+\.done .*stream BUILDS stores it as number 1/,
      /worker .*pull BUILDS\.worker .*acknowledged/,
      /build .*pub release\.\d+\.1 .*denied: change\.merged is false/,
      /person .*merges !77/,
      /build .*pub release\.\d+\.1 .*role release/,
      /gitlab .*job #7712 succeeded .*closed \d+ ms later/,
      /thief .*refused: session ended/,
      /image .*pub image\.pushed\.\d+/,
      /broker .*starts again .*pipeline \d+ .*: 1 in all/,
      /deploy .*pub deploy\.done\.shop .*caused_by: deploy-image/,
    ];
    let from = 0;
    for (const line of told) {
      const at = steps.findIndex((step, index) => index >= from && line.test(step));
      expect(at, `${line} after step ${from} of\n${out}`).toBeGreaterThanOrEqual(from);
      from = at + 1;
    }
    expect(out).toMatch(/^\$ wayleave audit list --job 7712 --nats$/m);
    expect(out).toMatch(/^\$ wayleave verify 7712$/m);
    expect(existsSync(join(copy, ".wayleave-demo"))).toBe(true);
  },
  boundMs + 30_000,
);
