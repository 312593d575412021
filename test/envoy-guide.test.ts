import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { findEnvoy } from "../demo/envoy.ts";
import { freePort } from "../demo/free-port.ts";
import { createPrivateCa } from "../demo/gitlab/certificate.ts";
import { findNginx } from "../demo/nginx.ts";
import { startGitlabCi } from "../demo/story-gitlab.ts";
import { startUpstream, type Upstream } from "../demo/upstream.ts";
import { type GuideStep, guideSteps, outputPattern, renamed, sameBlanks } from "./guide.ts";
import { type RunningCommand, runScript, startCommand } from "./running-command.ts";

/** The guide, followed to the letter by somebody who has a broker, two services, Envoys and an NGINX. */
const steps = guideSteps(readFileSync(new URL("../docs/guides/envoy.md", import.meta.url), "utf8"));
const bin = fileURLToPath(new URL("../bin/wayleave", import.meta.url));
const firstJob = 7712;

let directory: string;
let ci: Awaited<ReturnType<typeof startGitlabCi>>;
let upstreams: readonly Upstream[];
/** The guide's names, and what they are here. */
let names: readonly (readonly [guide: string, here: string])[];
const running = new Map<string, RunningCommand>();

const at = (...path: readonly string[]) => join(directory, ...path);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-envoy-guide-"));
  const folders = ["srv/secrets", "srv/policy", "envoy/tls", "nginx/conf.d", "nginx/tls", "log", "tmp", "bin", "build"];
  for (const folder of folders) mkdirSync(at(folder), { recursive: true });
  const [broker, edge, front] = [await freePort(), await freePort(), await freePort()];
  const url = `http://127.0.0.1:${broker}`;
  const ca = createPrivateCa(Date.now());
  ci = await startGitlabCi(url, ca);
  upstreams = [await startUpstream(), await startUpstream()];
  names = [
    ["127.0.0.1:8700", `127.0.0.1:${broker}`],
    ["127.0.0.1:8701", `127.0.0.1:${await freePort()}`],
    ["127.0.0.1:9000", `127.0.0.1:${upstreams[0]?.port}`],
    ["port_value: 9000", `port_value: ${upstreams[0]?.port}`],
    ["127.0.0.1:9001", `127.0.0.1:${upstreams[1]?.port}`],
    ["0.0.0.0:443", `127.0.0.1:${edge}`],
    ["address: 0.0.0.0, port_value: 443", `address: 127.0.0.1, port_value: ${edge}`],
    ["listen 443 ssl", `listen 127.0.0.1:${front} ssl`],
    ["127.0.0.1:443", `127.0.0.1:${front}`],
    ["127.0.0.1:10001", `127.0.0.1:${await freePort()}`],
    ["127.0.0.1:10003", `127.0.0.1:${await freePort()}`],
    ["127.0.0.1:10004", `127.0.0.1:${await freePort()}`],
    // Long enough for a busy machine, short enough to be waited for.
    ["revocation_ttl: 15s", "revocation_ttl: 6s"],
    ["refuses everything after 15 s", "refuses everything after 6 s"],
    ["/srv/wayleave", at("srv")],
    ["/etc/envoy", at("envoy")],
    ["/etc/nginx", at("nginx")],
    ["/var/log/envoy", at("log", "envoy")],
    ["/var/log/nginx", at("log", "nginx")],
  ];
  for (const folder of ["envoy", "nginx"]) mkdirSync(at("log", folder));
  writeBrokerFiles(url, ca.ca);
  const hosts = ["billing.internal", "billing.acme.example", "reports.internal", "wiki.internal"];
  const { cert, key } = ca.issue([...hosts, "127.0.0.1"]);
  for (const folder of ["envoy", "nginx"]) {
    writeFileSync(at(folder, "tls", "internal.crt"), cert);
    writeFileSync(at(folder, "tls", "internal.key"), key);
  }
  writeFileSync(at("log", "nginx", "wayleave.log"), "");
  writeFileSync(at("nginx", "nginx.conf"), mainConf());
  symlinkSync(bin, at("bin", "wayleave"));
  command("nginx", `exec '${findNginx()}' -p '${directory}' -e stderr -c '${at("nginx", "nginx.conf")}' "$@"`);
  command("envoy", `exec '${findEnvoy()}' --disable-hot-restart --concurrency 1 "$@"`);
  // What a company's DNS and certificate store do.
  const port = (host: string) => (host === "billing.acme.example" ? front : edge);
  const connect = hosts.map((host) => `connect-to = "${host}:443:127.0.0.1:${port(host)}"\n`);
  writeFileSync(at(".curlrc"), `${connect.join("")}cacert = "${at("srv", "acme-ca.pem")}"\n`);
});

/** As `wayleave init` and the guides before this one leave them. */
function writeBrokerFiles(url: string, ca: string): void {
  const secret = (name: string, text: string) => writeFileSync(at("srv", name), text, { mode: 0o600 });
  secret("secrets/encryption.key", Buffer.alloc(32, 7).toString("base64"));
  for (const name of ["ca.pem", "acme-ca.pem"]) writeFileSync(at("srv", name), ca);
  for (const [name, text] of Object.entries(ci.part.files)) secret(name, text);
  writeFileSync(
    at("srv", "wayleave.yaml"),
    stringify({
      issuer: url,
      trust_domain: "acme.example",
      listen: { address: new URL(url).host },
      policy: "./policy",
      keys: { encryption_key_file: "secrets/encryption.key" },
      issuers: [ci.part.issuer],
    }),
  );
}

function command(name: string, script: string): void {
  writeFileSync(at("bin", name), `#!/bin/sh\n${script}\n`);
  chmodSync(at("bin", name), 0o755);
}

/** As a distribution installs it. */
function mainConf(): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `${process.getuid?.() === 0 ? "user root;\n" : ""}daemon off;
pid ${at("nginx.pid")};
error_log stderr notice;
events { }
http {
    ${temporary.map((name) => `${name}_temp_path ${at("tmp", name)};`).join("\n    ")}
    include ${at("nginx", "conf.d")}/*.conf;
}
`;
}

afterAll(async () => {
  for (const child of [...running.values()].toReversed()) await child.stop();
  for (const upstream of upstreams ?? []) await upstream.close();
  await ci?.gitlab.close();
  rmSync(directory, { recursive: true, force: true });
});

const shellEnv = (): NodeJS.ProcessEnv => ({
  PATH: `${at("bin")}:${dirname(process.execPath)}:${process.env.PATH ?? ""}`,
  HOME: directory,
  CURL_HOME: directory,
  TMPDIR: at("tmp"),
  LC_ALL: "C",
});

/** The job whose commands are typed, and what its environment is. */
let job: { readonly env: NodeJS.ProcessEnv; readonly log: (text: string) => void } | undefined;
let jobs = 0;

async function startJob(): Promise<NonNullable<typeof job>> {
  const options = { source: "merge_request_event", mergeRequest: ci.change, user: ci.dana } as const;
  const id = firstJob + jobs++;
  const [run] = ci.gitlab.startPipeline(ci.shop, { ...options, jobs: [{ name: "release", id }] }).jobs;
  if (run === undefined) throw new TypeError("the pipeline has a job");
  ci.gitlab.runJob(run);
  await ci.gitlab.flush();
  const issuer = `http://${new Map(names).get("127.0.0.1:8700")}`;
  const env = {
    ...shellEnv(),
    CI: "true",
    CI_JOB_ID: String(id),
    CI_JOB_NAME: "release",
    CI_SERVER_URL: ci.gitlab.issuer,
    CI_PROJECT_DIR: at("build"),
    SSL_CERT_FILE: at("srv", "ca.pem"),
    WAYLEAVE_URL: issuer,
    WAYLEAVE_ID_TOKEN: await ci.gitlab.idToken(run, { aud: issuer }),
  };
  return { env, log: (text) => ci.gitlab.appendTrace(run, text) };
}

async function typed(script: string): Promise<string> {
  const { status, output } = await runScript(script, { cwd: at("srv"), env: shellEnv() });
  expect(status, `${script}${output}`).toBe(0);
  return output;
}

async function typedInJob(script: string): Promise<string> {
  job ??= await startJob();
  const { status, output } = await runScript(script, { cwd: at("build"), env: job.env });
  job.log(output);
  expect(status, `${script}${output}`).toBe(0);
  return output;
}

/** What says of each lasting command that it is there. */
const readiness: Readonly<Record<string, RegExp>> = {
  serve: /(?:waiting|last job) .*\n/,
  follow: /until Ctrl-C\n/,
  svid: / until .*\n/,
  nginx: /start worker process \d+/,
  envoy: /starting workers/,
};

async function staysOn(name: string, line: string): Promise<string> {
  const child = startCommand(line, { cwd: at("srv"), env: shellEnv() });
  running.set(name, child);
  lines.set(name, line);
  const [program = ""] = line.split(" ");
  await child.said(readiness[program === "wayleave" ? name.replace(/-.*/, "") : program] ?? /./);
  return child.output();
}

/** By name, what was typed to start it. */
const lines = new Map<string, string>();

async function stopped(name: string): Promise<void> {
  await running.get(name)?.stop();
  running.delete(name);
}

/** What the reader has before them. */
let output = "";
/** The comment above the next block. */
let about: readonly [what: string, name: string] | undefined;

/** What others do, or what the next block is. */
async function acted(comment: string): Promise<void> {
  const [what = "", name = ""] = comment.split(": ");
  about = [what, name];
  if (what === "another job") job = await startJob();
  if (what === "serve says") await running.get("serve")?.said(new RegExp(name));
  if (what === "stops") await stopped(name);
  if (what === "waits for") for (const each of name.split(", ")) await recorded(new RegExp(each));
  if (what !== "restarts") return;
  await stopped(name);
  await staysOn(name, lines.get(name) ?? "");
}

/** A gateway's log comes by itself; the test's own time is the limit. */
async function recorded(line: RegExp): Promise<void> {
  while (!line.test(await typed("wayleave audit list")));
}

const inJob = ["in a job", "another job"];

async function followed({ language, body, line }: Extract<GuideStep, { kind: "block" }>): Promise<void> {
  const [what = "", name = ""] = about ?? [];
  about = undefined;
  const mine = renamed(body, names);
  if (what === "in") added(renamed(name, names), mine);
  else if (what === "file") writeFileSync(renamed(name, names), mine);
  else if (language === "sh" && what === "stays on") output = await staysOn(name, mine.trim().replaceAll("\\\n", ""));
  else if (language === "sh") output = inJob.includes(what) ? await typedInJob(mine) : await typed(mine);
  else if (language === "text") {
    const here = names.map(([there, real]) => [real, there] as const);
    // Between two marks, so that `…` on the first or the last line stands for lines too.
    const [got, wanted] = [plain(renamed(output, here)), plain(body)].map((text) => `|\n${text}\n|`);
    expect(got, `the output in line ${line}`).toMatch(outputPattern(wanted ?? ""));
  } else throw new Error(`line ${line}: nobody knows what to do with this block`);
}

/** Without what depends on how long names are: lines that go on below a note are one with it, and any blanks are one. */
const plain = (text: string): string =>
  sameBlanks(text.replaceAll(/\n {6}(?=\S)/g, " "))
    .replaceAll(/^ +$/gm, "")
    .replaceAll(/^(\{"level"|\(node:|\(Use `node).*\n/gm, "");

/** Top-level keys of a YAML file, replaced. */
function added(file: string, text: string): void {
  const path = at("srv", file);
  writeFileSync(path, stringify({ ...parse(readFileSync(path, "utf8")), ...parse(text) }));
}

describe("docs/guides/envoy.md", () => {
  test("has commands, outputs, files, and every form of the gateway", () => {
    const languages = steps.flatMap((step) => (step.kind === "block" ? [step.language] : []));
    expect(languages.filter((language) => language === "sh").length).toBeGreaterThan(30);
    expect(languages.filter((language) => language === "text").length).toBeGreaterThan(25);
    const comments = steps.flatMap((step) => (step.kind === "comment" ? [step.text] : []));
    for (const name of ["edge-2", "edge-3", "edge-4", "billing-sidecar"])
      expect(comments).toContain(`stays on: ${name}`);
  });

  test("leads from the inventory to a story of two hops, block by block", { timeout: 240_000 }, async () => {
    for (const step of steps) {
      if (step.kind === "comment") await acted(step.text);
      else await followed(step);
    }
    const served = upstreams.flatMap(({ served: each }) => each.map(({ method, url }) => `${method} ${url}`));
    expect(served.filter((line) => /^(?:DELETE|POST)|lines/.test(line))).toEqual([]);
    for (const { headers } of upstreams[0]?.served ?? []) expect(headers.authorization).toBe(undefined);
  });
});
