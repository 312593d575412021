import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import packageJson from "../package.json" with { type: "json" };
import { build } from "../scripts/build.ts";
import { type RunningCommand, runScript, startCommand } from "./running-command.ts";

/** What `npm install` would unpack, in a folder from which no library can be found: everything must be inside. */
let folder: string;
let serve: RunningCommand | undefined;
const checkout = fileURLToPath(new URL("..", import.meta.url));
const run = promisify(execFile);

const inside = (...path: readonly string[]) => join(folder, "package", ...path);
const where = () => ({ cwd: join(folder, "work"), env: { PATH: process.env.PATH } });
const wayleave = () => `${process.execPath} --disable-warning=ExperimentalWarning ${inside("dist/main.js")}`;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wayleave-package-"));
  mkdirSync(join(folder, "work"));
  await build(join(checkout, "dist")); // .npmrc runs no scripts, not even our own
  await run("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: checkout });
  await run("tar", ["-xzf", `wayleave-${packageJson.version}.tgz`], { cwd: folder });
});

afterAll(async () => {
  await serve?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("says its version, and every command its help", async () => {
  const { status, output } = await runScript(
    `${wayleave()} --version; ${wayleave()} --help; ${wayleave()} policy check --help`,
    where(),
  );
  expect(status).toBe(0);
  expect(output.startsWith(`${packageJson.version}\n`)).toBe(true);
  expect(output).toContain("wayleave policy check");
});

test("serves: journal, index, certificates and the sh client are found where they were packed", async () => {
  const answers = "--yes --gitlab-url https://127.0.0.1:1 --project acme/shop --upstream billing.internal";
  const made = await runScript(`${wayleave()} init ${answers} --listen 127.0.0.1:0`, where());
  expect([made.status, made.output]).toEqual([5, expect.stringContaining("wrote      wayleave.yaml")]); // no GitLab there
  serve = startCommand(`${wayleave()} serve`, where());
  await serve.said(/listens +http:\S+/);
  const [, url = ""] = /listens +(http:[^,\s]+)/.exec(serve.output()) ?? [];
  const script = await (await fetch(`${url}/client.sh`)).text();
  expect(script).toBe(readFileSync(join(checkout, "packaging/client/wayleave.sh"), "utf8"));
  const bundle = (await (await fetch(`${url}/spiffe/bundle`)).json()) as { keys: readonly unknown[] };
  expect(bundle.keys.length).toBeGreaterThan(0);
  const listed = await runScript(`${wayleave()} audit list --kind ca.created --json`, where());
  expect(JSON.parse(listed.output)).toMatchObject({ records: [{ kind: "ca.created" }, { kind: "ca.created" }] });
});

test("names the licence of each library that is inside", () => {
  const licences = readFileSync(inside("dist/LICENSES.txt"), "utf8");
  for (const name of ["commander", "fastify", "jose", "undici", "yaml", "zod"]) {
    expect(licences).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(\\S+\\)$`, "m"));
  }
  expect(licences).not.toMatch(/undefined/);
});
