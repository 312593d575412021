import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { freePort } from "../demo/free-port.ts";
import { createPrivateCa } from "../demo/gitlab/certificate.ts";
import { type Gitlab, startGitlab } from "../demo/gitlab/gitlab.ts";
import { findNginx } from "../demo/nginx.ts";
import { startUpstream, type Upstream } from "../demo/upstream.ts";
import { type GuideStep, guideSteps, outputPattern, renamed, sameBlanks } from "./guide.ts";
import { type RunningCommand, runScript, startCommand } from "./running-command.ts";

/** The guide, followed to the letter by somebody who has a self-managed GitLab, an NGINX and a service behind it. */
const guide = readFileSync(new URL("../docs/guides/first-steps.md", import.meta.url), "utf8");
const steps = guideSteps(guide);
const bin = fileURLToPath(new URL("../bin/wayleave", import.meta.url));

let directory: string;
let gitlab: Gitlab;
let project: Parameters<Gitlab["startPipeline"]>[0];
let person: ReturnType<Gitlab["createUser"]>;
let upstream: Upstream;
let nginx: RunningCommand | undefined;
let edgePort: number;
/** The guide's names, and what they are here. */
let names: readonly (readonly [guide: string, here: string])[];
const running = new Map<string, RunningCommand>();

const at = (...path: readonly string[]) => join(directory, ...path);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-first-"));
  const ca = createPrivateCa(Date.now());
  gitlab = await startGitlab({ now: Date.now, root: "/gitlab", tls: ca.issue(["127.0.0.1"]) });
  person = gitlab.createUser({ username: "dana" });
  project = gitlab.createProject({ path: "acme/shop", members: { dana: "developer" } });
  upstream = await startUpstream();
  edgePort = await freePort();
  names = [
    ["https://gitlab.acme.example/gitlab", gitlab.issuer],
    ["https://wayleave.acme.example", `https://localhost:${edgePort}`],
    ["server_name wayleave.acme.example", "server_name localhost"],
    ["listen 443 ssl", `listen 127.0.0.1:${edgePort} ssl`],
    ["127.0.0.1:9000", `127.0.0.1:${upstream.port}`],
    ["127.0.0.1:8700", `127.0.0.1:${await freePort()}`],
    ["/srv/wayleave", at("srv")],
    ["/etc/nginx", at("nginx")],
    ["/var/log/nginx", at("log")],
  ];
  for (const folder of ["srv", "nginx/conf.d", "nginx/tls", "log", "tmp", "bin", "build"])
    mkdirSync(at(folder), { recursive: true });
  writeFileSync(at("srv", "acme-ca.pem"), ca.ca);
  const edge = ca.issue(["billing.internal", "localhost"]);
  writeFileSync(at("nginx", "tls", "internal.crt"), edge.cert);
  writeFileSync(at("nginx", "tls", "internal.key"), edge.key);
  writeFileSync(at("nginx", "nginx.conf"), mainConf());
  symlinkSync(bin, at("bin", "wayleave"));
  writeFileSync(
    at("bin", "nginx"),
    `#!/bin/sh\nexec '${findNginx()}' -p '${directory}' -e stderr -c '${at("nginx", "nginx.conf")}' "$@"\n`,
  );
  chmodSync(at("bin", "nginx"), 0o755);
  // What a company's DNS and certificate store do.
  copyFileSync(at("srv", "acme-ca.pem"), at("ca.pem"));
  writeFileSync(
    at(".curlrc"),
    `connect-to = "billing.internal:443:127.0.0.1:${edgePort}"\ncacert = "${at("ca.pem")}"\n`,
  );
});

afterAll(async () => {
  for (const child of [...running.values()].toReversed()) await child.stop();
  await nginx?.stop();
  await upstream?.close();
  await gitlab?.close();
  rmSync(directory, { recursive: true, force: true });
});

/** As a distribution installs it. */
function mainConf(): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `${process.getuid?.() === 0 ? "user root;\n" : ""}daemon off;
pid ${at("nginx.pid")};
error_log stderr notice;
events { }
http {
    ${temporary.map((name) => `${name}_temp_path ${at("tmp", name)};`).join("\n    ")}
    access_log ${at("log", "access.log")};
    include ${at("nginx", "conf.d")}/*.conf;
}
`;
}

const shellEnv = (): NodeJS.ProcessEnv => ({
  PATH: `${at("bin")}:${dirname(process.execPath)}:${process.env.PATH ?? ""}`,
  HOME: directory,
  CURL_HOME: directory,
  LC_ALL: "C",
});

/** Commands of the operator. A reload counts once the old worker is gone. */
async function typed(script: string): Promise<string> {
  const before = workersGone();
  const { status, output } = await runScript(script, { cwd: at("srv"), env: shellEnv() });
  expect({ script, status, output }).toMatchObject({ status: 0 });
  if (script.includes("nginx -s reload"))
    await nginx?.said(new RegExp(`(?:exited with code 0[\\s\\S]*){${before + 1}}`));
  return output;
}

const workersGone = (): number => (nginx?.output() ?? "").split("exited with code 0").length - 1;

interface PipelineFile {
  readonly [job: string]: {
    readonly id_tokens: { readonly WAYLEAVE_ID_TOKEN: { readonly aud: string } };
    readonly variables: Readonly<Record<string, string>>;
    readonly script: readonly string[];
    readonly after_script: readonly string[];
  };
}

/** What GitLab and a runner do with `.gitlab-ci.yml`. */
async function gitlabRuns(file: string): Promise<{ status: number; output: string }> {
  const [name = "", job] = Object.entries(parse(file) as PipelineFile)[0] ?? [];
  if (job === undefined) throw new TypeError("the pipeline has a job");
  const [run] = gitlab.startPipeline(project, { user: person, jobs: [name] }).jobs;
  if (run === undefined) throw new TypeError("the pipeline has a job");
  gitlab.runJob(run);
  const env: NodeJS.ProcessEnv = {
    ...shellEnv(),
    TMPDIR: at("tmp"),
    CI: "true",
    CI_JOB_ID: String(run.id),
    CI_JOB_NAME: name,
    CI_SERVER_URL: gitlab.issuer,
    CI_SERVER_TLS_CA_FILE: at("ca.pem"),
    CI_PROJECT_DIR: at("build"),
    WAYLEAVE_ID_TOKEN: await gitlab.idToken(run, { aud: job.id_tokens.WAYLEAVE_ID_TOKEN.aud }),
    // Where billing.internal is: there is no DNS here.
    WAYLEAVE_TARGET_BILLING_URL: `https://127.0.0.1:${edgePort}`,
  };
  for (const [key, value] of Object.entries(job.variables))
    env[key] = value.replace(/^\$(\w+)$/, (_, from) => env[from] ?? "");
  const main = await runScript(job.script.join("\n"), { cwd: at("build"), env });
  if (main.status === 0) gitlab.succeedJob(run);
  else gitlab.failJob(run, "script_failure");
  const after = await runScript(job.after_script.join("\n"), { cwd: at("build"), env });
  return { status: main.status, output: main.output + after.output };
}

describe("docs/guides/first-steps.md", () => {
  test("has commands, outputs, files, and both runs of the job", () => {
    const comments = steps.flatMap((step) => (step.kind === "comment" ? [step.text] : []));
    expect(comments.filter((text) => text.startsWith("gitlab: "))).toHaveLength(2);
    expect(steps.filter((step) => step.kind === "block" && step.language === "sh").length).toBeGreaterThan(10);
  });

  test("leads from `wayleave init` to the first refused request, block by block", { timeout: 120_000 }, async () => {
    for (const step of steps) {
      if (step.kind === "comment") await acted(step.text);
      else await followed(step);
    }
    expect(
      upstream.served.map(({ method, url }) => `${method} ${url}`).filter((line) => !line.includes("probe")),
    ).toEqual(["GET /v1/invoices/42", "POST /v1/releases", "GET /v1/invoices/42"]);
  });
});

/** What the reader has before them. */
let output = "";
let pipeline = "";
/** The comment above the next block. */
let about: readonly [what: string, name: string] | undefined;

/** What others do, or what the next block is. */
async function acted(comment: string): Promise<void> {
  const [what = "", name = ""] = comment.split(": ");
  about = [what, name];
  if (what === "serve says") await running.get("serve")?.said(new RegExp(name));
  if (what !== "gitlab") return;
  const job = await gitlabRuns(pipeline);
  output = job.output;
  expect(job.status === 0 ? "the job runs and succeeds" : "the job runs and fails", job.output).toBe(name);
}

async function followed({ language, body, line }: Extract<GuideStep, { kind: "block" }>): Promise<void> {
  const [what, name = ""] = about ?? [];
  about = undefined;
  const mine = renamed(body, names);
  if (language === "yaml") pipeline = mine;
  else if (language === "nginx") await operatorWrites(renamed(name, names), mine);
  else if (language === "sh" && what === "stays on") output = await staysOn(name, mine.trim());
  else if (language === "sh") output = await typed(mine.replaceAll("rec_…", lastRecord(output)));
  else {
    if (what === "shows") output = await shown(name);
    // The broker's log, and what Node says of its packages, stand between what is printed for people.
    const people = output.replaceAll(/^(\{"level"|\(node:|\(Use `node).*\n/gm, "");
    const here = names.map(([there, real]) => [real, there] as const);
    expect(sameBlanks(renamed(people, here)), `the output in line ${line}`).toMatch(outputPattern(body));
  }
}

const lastRecord = (text: string): string => /rec_[0-9a-z]+(?!.*rec_)/s.exec(text)?.[0] ?? "rec_…";

async function staysOn(name: string, command: string): Promise<string> {
  const child = startCommand(command, { cwd: at("srv"), env: shellEnv() });
  running.set(name, child);
  await child.said(name === "serve" ? /waiting .*\n/ : /until Ctrl-C\n/);
  return child.output();
}

/** All that it has said, once the decision is there that the guide is about. */
async function shown(name: string): Promise<string> {
  const child = running.get(name);
  await child?.said(/would deny.*\n/);
  return child?.output() ?? "";
}

/** The first file is what was there before: NGINX starts with it. */
async function operatorWrites(path: string, text: string): Promise<void> {
  writeFileSync(path, text);
  if (nginx !== undefined) return;
  nginx = startCommand("nginx", { cwd: directory, env: shellEnv() });
  await nginx.said(/start worker process \d+/);
}
