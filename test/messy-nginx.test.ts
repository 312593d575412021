import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../demo/free-port.ts";
import { findNginx } from "../demo/nginx.ts";
import { startUpstream, type Upstream } from "../demo/upstream.ts";
import { request } from "./nginx-lab.ts";
import { type RunningCommand, runScript, startCommand } from "./running-command.ts";

const fixtures = fileURLToPath(new URL("testdata", import.meta.url));
const bin = fileURLToPath(new URL("../bin", import.meta.url));

let directory: string;
let upstream: Upstream;
let broker: RunningCommand;
let nginx: RunningCommand | undefined;
let port: number;
let forgottenPort: number;

const env = (): NodeJS.ProcessEnv => ({
  PATH: `${bin}:${dirname(process.execPath)}:${process.env.PATH ?? ""}`,
  HOME: directory,
  LC_ALL: "C",
});
const run = (script: string) => runScript(script, { cwd: directory, env: env() });

/** An installation whose CI is out of reach: no job has a token, so whatever passes has passed without one. */
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-messy-"));
  upstream = await startUpstream();
  [port, forgottenPort] = [await freePort(), await freePort()];
  await run(
    `wayleave init --yes --gitlab-url https://127.0.0.1:1 --project acme/shop --upstream billing.internal \
      --issuer http://127.0.0.1:${await freePort()} --access-log '${directory}/wayleave.log'`,
  );
  const policy = join(directory, "policy", "policy.yaml");
  writeFileSync(policy, readFileSync(policy, "utf8").replace("mode: observe", "mode: enforce"));
  broker = startCommand("wayleave serve", { cwd: directory, env: env() });
  await broker.said(/waiting .*\n/);
});

afterEach(async () => {
  await nginx?.stop();
  nginx = undefined;
});

afterAll(async () => {
  await broker?.stop();
  await upstream?.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A fixture with the ports of this run; line numbers stay. */
async function install(fixture: string): Promise<string> {
  const folder = join(directory, fixture);
  cpSync(join(fixtures, fixture), folder, { recursive: true });
  mkdirSync(join(folder, "tmp"), { recursive: true });
  for (const file of files(folder)) {
    const text = readFileSync(join(folder, file), "utf8")
      .replaceAll("127.0.0.1:8080", `127.0.0.1:${port}`)
      .replaceAll("127.0.0.1:8081", `127.0.0.1:${forgottenPort}`)
      .replaceAll("127.0.0.1:9000", `127.0.0.1:${upstream.port}`);
    writeFileSync(join(folder, file), text);
  }
  const rendered = await run(`wayleave render nginx --out '${folder}/wayleave'`);
  expect(rendered.status, rendered.output).toBe(0);
  return folder;
}

const files = (folder: string): readonly string[] => [
  "nginx.conf",
  ...readdirSync(join(folder, "conf.d")).map((name) => `conf.d/${name}`),
];

/** `conf.d/10-billing.conf:23 return_before_access`, as the comments of the fixture say. */
function marked(folder: string): readonly string[] {
  return files(folder).flatMap((file) =>
    readFileSync(join(folder, file), "utf8")
      .split("\n")
      .flatMap((line, at) => (/# trap: (\w+)$/.exec(line)?.slice(1) ?? []).map((code) => `${file}:${at + 1} ${code}`)),
  );
}

interface Finding {
  readonly code: string;
  readonly place: { readonly file: string; readonly line: number };
}

async function lint(folder: string): Promise<{ readonly status: number; readonly found: readonly string[] }> {
  const { status, output } = await run(`wayleave render nginx --lint '${folder}/nginx.conf' --json`);
  const { diagnostics } = JSON.parse(output) as { diagnostics: readonly Finding[] };
  return {
    status,
    found: diagnostics.map(({ code, place }) => `${place.file.slice(folder.length + 1)}:${place.line} ${code}`),
  };
}

const command = (folder: string) => {
  const user = process.getuid?.() === 0 ? `-g 'user root;'` : "";
  return `'${findNginx()}' -p '${folder}' -e stderr -c '${folder}/nginx.conf' ${user}`;
};

async function start(folder: string): Promise<void> {
  nginx = startCommand(command(folder), { cwd: folder, env: env() });
  await nginx.said(/start worker process \d+/);
}

/** What came back, and whether the upstream saw it. */
async function ask(line: string, at = port) {
  const before = upstream.served.length;
  const { status, headers } = await request(at, line);
  return { status, decision: headers["x-wayleave-decision"] ?? "none", served: upstream.served.length - before };
}

const past = { status: 200, decision: "none", served: 1 };
const refused = { status: 401, decision: "deny", served: 0 };

describe("a messy configuration", () => {
  test("has each of its traps named by the lint, at its file and line, and nothing else", async () => {
    const folder = await install("nginx-messy");
    const expected = marked(folder);
    expect(expected.length).toBeGreaterThan(9);
    const { status, found } = await lint(folder);
    expect(status).toBe(2);
    expect([...new Set(found)].toSorted()).toEqual(expected.toSorted());
  });

  test("is shown line by line to whoever runs the lint", async () => {
    const folder = await install("nginx-messy");
    const { output } = await run(`wayleave render nginx --lint '${folder}/nginx.conf'`);
    expect(output).toContain("error[satisfy_any]: with satisfy any an allowed address or a password passes");
    expect(output).toContain(`${folder}/conf.d/20-tools.conf:7:9`);
    expect(output).toMatch(/\d+ findings in .*nginx\.conf\n$/);
  });

  test("lets requests past in NGINX itself, where the lint says so", async () => {
    await start(await install("nginx-messy"));
    expect(await ask("GET /v1/invoices/42")).toEqual(refused);
    expect(await ask("GET /partners/list")).toEqual(past);
    expect(await ask("GET /metrics")).toEqual(past);
    expect(await ask("GET /v1/invoices/42", forgottenPort)).toEqual(past);
    expect(await ask("GET /v1/ping")).toEqual({ ...past, served: 0 });
  });
});

describe("the same configuration, mended", () => {
  test("has no finding, and NGINX takes it", async () => {
    const folder = await install("nginx-mended");
    expect(await lint(folder)).toEqual({ status: 0, found: [] });
    const { status, output } = await run(`${command(folder)} -t`);
    expect(status, output).toBe(0);
  });

  test("has every request to the service decided, and still answers what is public", async () => {
    await start(await install("nginx-mended"));
    expect(await ask("GET /v1/invoices/42")).toEqual(refused);
    expect(await ask("GET /partners/list")).toEqual(refused);
    expect(await ask("GET /metrics")).toEqual(refused);
    expect(await ask("GET /reports/daily/1")).toEqual(refused);
    expect(await ask("GET /v1/invoices/42", forgottenPort)).toEqual(refused);
    expect(await ask("GET /v1/ping")).toEqual({ status: 200, decision: "none", served: 0 });
    expect(await ask("GET /old/invoices/42")).toEqual({ status: 308, decision: "none", served: 0 });
  });
});
