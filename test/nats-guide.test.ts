import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, watch, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { freePort } from "../demo/free-port.ts";
import { createPrivateCa } from "../demo/gitlab/certificate.ts";
import { type Gitlab, startGitlab } from "../demo/gitlab/gitlab.ts";
import type { Job, Project } from "../demo/gitlab/types.ts";
import { findNatsServer } from "../demo/nats-server.ts";
import type { NatsStatusResponse } from "../src/gateway/nats/status.ts";
import { type GuideStep, guideSteps, outputPattern, renamed, sameBlanks } from "./guide.ts";
import { againScript, natsMistakes } from "./nats-guide-mistakes.ts";
import { askOperator } from "./operator.ts";
import { type RunningCommand, runScript, startCommand } from "./running-command.ts";

/** The guides, followed to the letter by somebody who has a self-managed GitLab and a nats-server, and nothing else. */
const page = (name: string) => readFileSync(new URL(`../docs/guides/${name}`, import.meta.url), "utf8");
const operators = guideSteps(page("nats.md"));
const jobs = guideSteps(page("nats-jobs.md"));
const root = fileURLToPath(new URL("..", import.meta.url));

let directory: string;
let gitlab: Gitlab;
/** How far GitLab's clock is ahead of ours. */
let aheadMs = 0;
let project: Project;
/** No role is for it. */
let stranger: Project;
let person: ReturnType<Gitlab["createUser"]>;
/** The guide's names, and what they are here. */
let names: readonly (readonly [guide: string, here: string])[];
const running = new Map<string, RunningCommand>();

const at = (...path: readonly string[]) => join(directory, ...path);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-nats-guide-"));
  for (const folder of ["srv", "data", "tmp", "bin", "build"]) mkdirSync(at(folder));
  const ca = createPrivateCa(Date.now());
  const hosts = ["localhost", "127.0.0.1"];
  gitlab = await startGitlab({ now: () => Date.now() + aheadMs, root: "/gitlab", tls: ca.issue(hosts), hookCa: ca.ca });
  person = gitlab.createUser({ username: "dana" });
  project = gitlab.createProject({ path: "acme/shop", members: { dana: "developer" } });
  stranger = gitlab.createProject({ path: "acme/other", members: { dana: "developer" } });
  const [broker, gateway, server] = [await freePort(), await freePort(), await freePort()];
  names = [
    ["https://gitlab.acme.example/gitlab", gitlab.issuer],
    ["https://wayleave.acme.example:8700", `https://localhost:${broker}`],
    ["0.0.0.0:8700", `127.0.0.1:${broker}`],
    ["tls://events.acme.example:4222", `tls://localhost:${gateway}`],
    ["0.0.0.0:4222", `127.0.0.1:${gateway}`],
    ["127.0.0.1:4223", `127.0.0.1:${server}`],
    ["/srv/wayleave", at("srv")],
    ["/var/lib/nats", at("data")],
  ];
  const signingToken = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
  gitlab.addHook({ url: `https://localhost:${broker}/hooks/gitlab/shop`, project, signingToken });
  const leaf = ca.issue(hosts);
  const files = {
    "acme-ca.pem": ca.ca,
    "tls.crt": leaf.cert,
    "tls.key": leaf.key,
    "gitlab-api.token": gitlab.createAccessToken(),
    "gitlab-hook.token": signingToken,
    "bus.secret": "a-secret-of-the-gateway-which-is-long-enough",
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(at("srv", name), text, { mode: 0o600 });
  writeFileSync(at("build", "again.mjs"), againScript);
  writeFileSync(at("build", "package.json"), '{ "type": "module" }');
  symlinkSync(join(root, "node_modules"), at("build", "node_modules"));
  symlinkSync(join(root, "bin/wayleave"), at("bin", "wayleave"));
  symlinkSync(findNatsServer(), at("bin", "nats-server"));
  writeFileSync(
    at("bin", "nats"),
    `#!/bin/sh\nNODE_EXTRA_CA_CERTS=$SSL_CERT_FILE exec node '${join(root, "test/nats-command.ts")}' "$@"\n`,
  );
  chmodSync(at("bin", "nats"), 0o755);
});

afterAll(async () => {
  for (const child of [...running.values()].toReversed()) await child.stop();
  await gitlab?.close();
  rmSync(directory, { recursive: true, force: true });
});

const shellEnv = (): NodeJS.ProcessEnv => ({
  PATH: `${at("bin")}:${dirname(process.execPath)}:${process.env.PATH ?? ""}`,
  HOME: directory,
  LC_ALL: "C",
});

interface PipelineFile {
  readonly [job: string]: {
    readonly id_tokens: Readonly<Record<string, { readonly aud: string }>>;
    readonly variables: Readonly<Record<string, string>>;
    readonly script: readonly string[];
    readonly after_script?: readonly string[];
  };
}

/** What GitLab and a runner do with `.gitlab-ci.yml`. */
async function gitlabRuns(file: string, of = project): Promise<{ readonly status: number; readonly output: string }> {
  const [name = "", job] = Object.entries(parse(file) as PipelineFile)[0] ?? [];
  if (job === undefined) throw new TypeError("the pipeline has a job");
  const [run] = gitlab.startPipeline(of, { user: person, jobs: [name] }).jobs;
  if (run === undefined) throw new TypeError("the pipeline has a job");
  gitlab.runJob(run);
  await gitlab.flush();
  const where = { cwd: at("build"), env: await jobEnv(run, job) };
  const left = job.script.some((line) => line.endsWith("&")) ? firstWord(at("build", "deploys.log")) : undefined;
  const main = await runScript(job.script.join("\n"), where);
  await left;
  const after = await runScript((job.after_script ?? []).join("\n"), where);
  gitlab.appendTrace(run, main.output + after.output);
  if (main.status === 0) gitlab.succeedJob(run);
  else gitlab.failJob(run, "script_failure");
  await gitlab.flush();
  return { status: main.status, output: main.output + after.output };
}

async function jobEnv(run: Job, job: PipelineFile[string]): Promise<NodeJS.ProcessEnv> {
  const env: NodeJS.ProcessEnv = {
    ...shellEnv(),
    TMPDIR: at("tmp"),
    CI: "true",
    CI_JOB_ID: String(run.id),
    CI_JOB_NAME: run.name,
    CI_PROJECT_ID: String(project.id),
    CI_SERVER_URL: gitlab.issuer,
    CI_SERVER_TLS_CA_FILE: at("srv", "acme-ca.pem"),
    CI_PROJECT_DIR: at("build"),
  };
  for (const [name, { aud }] of Object.entries(job.id_tokens)) env[name] = await gitlab.idToken(run, { aud });
  for (const [key, value] of Object.entries(job.variables))
    env[key] = value.replace(/^\$(\w+)$/, (_, from) => env[from] ?? "");
  return env;
}

/** What the job leaves running has something to say only once it is connected. */
function firstWord(path: string): Promise<void> {
  writeFileSync(path, "");
  return new Promise((resolve) => {
    const watcher = watch(path, () => {
      if (readFileSync(path, "utf8") === "") return;
      watcher.close();
      resolve();
    });
  });
}

/** First column of the table, without its quotes. */
const rows = tableRows(page("nats-jobs.md"));

function tableRows(markdown: string): readonly string[] {
  const [, table = ""] = markdown.split("## When it does not work");
  const cells = [...table.matchAll(/^\| (`.+?) \| /gm)].map(([, cell = ""]) => cell.replaceAll("`", ""));
  return cells.map((cell) => cell.replace(/^(i\/o timeout|context deadline exceeded|no servers available).*/, "$1"));
}

function pattern(row: string): RegExp {
  if (row === "Authorization Violation and nothing more") return /Authorization Violation"?$/im;
  const { source } = outputPattern(row.replace("wayleave nats env", "`wayleave nats env`"));
  return new RegExp(source.slice(1, -1));
}

describe("docs/guides/nats.md and nats-jobs.md", () => {
  test("have commands, outputs, files and jobs", () => {
    const count = (steps: readonly GuideStep[], kind: string) =>
      steps.filter((step) => step.kind === "comment" && step.text.startsWith(kind)).length;
    expect(count(operators, "gitlab: ")).toBe(2);
    expect(count(jobs, "gitlab: ")).toBeGreaterThan(4);
    expect(operators.filter((step) => step.kind === "block" && step.language === "sh").length).toBeGreaterThan(15);
  });

  test("lead from nothing to the end of a job, block by block", { timeout: 180_000 }, async () => {
    for (const step of operators) await (step.kind === "comment" ? acted(step.text) : followed(step));
  });

  test("and show a job's author every way in", { timeout: 120_000 }, async () => {
    for (const step of jobs) await (step.kind === "comment" ? acted(step.text) : followed(step));
  });

  test.each(natsMistakes)("and what a client says where $mistake", { timeout: 60_000 }, async (made) => {
    const { row, script, aud = "https://wayleave.acme.example:8700", ahead = 0, other = false } = made;
    const client = pattern(row);
    expect(rows, "the table has it").toContain(row);
    const job = {
      id_tokens: made.without === true ? {} : { WAYLEAVE_ID_TOKEN: { aud } },
      variables: { SSL_CERT_FILE: "$CI_SERVER_TLS_CA_FILE", NATS_URL: "tls://events.acme.example:4222" },
      script,
    };
    aheadMs = ahead;
    const { status, output: text } = await gitlabRuns(
      renamed(stringify({ announce: job }), names),
      other ? stranger : project,
    );
    aheadMs = 0;
    expect(status).not.toBe(0);
    expect(sameBlanks(text.replaceAll("’", "'"))).toMatch(client);
  });

  test("and the table has nothing more but what clients say of themselves", () => {
    const own = /^(certificate signed|secure connection|no servers|i\/o timeout|context deadline)/;
    const known = new Set(natsMistakes.map(({ row }) => row));
    expect(rows.filter((row) => !known.has(row) && !own.test(row))).toEqual([]);
  });

  test("and nothing of it is wider than a terminal but what one line must hold", () => {
    const wide = everything.split("\n").filter((line) => line.length > 100);
    const others =
      /^nats: error|^nats-server: |^\[\d+\] |^\{"level"|^wayleave: session |^wrote |^[\d-]+T\S+Z {2}rec_|_INBOX_/;
    expect(wide.filter((line) => !others.test(line))).toEqual([]);
  });
});

/** What the reader has before them, and what they had. */
let output = "";
let everything = "";
let pipeline = "";
/** The comment above the next block. */
let about = "";

const show = (text: string): void => {
  output = text;
  everything += `${text}\n`;
};

/** What others do, or what the next block is. */
async function acted(comment: string): Promise<void> {
  about = comment;
  if (comment === "once the broker has reached the server") return reached();
  if (comment === "two messages wait") return await waiting("eu", "us");
  if (comment === "at that time") return until(/after ((?:[\d-]+ )?[\d:]+) UTC/.exec(output)?.[1] ?? "");
  if (!comment.startsWith("gitlab: ")) return;
  const job = await gitlabRuns(pipeline);
  show(job.output);
  expect(job.status === 0 ? "gitlab: the job runs and succeeds" : "gitlab: the job runs and fails", job.output).toBe(
    comment,
  );
}

async function followed({ language, body, line }: Extract<GuideStep, { kind: "block" }>): Promise<void> {
  const [what = "", name = ""] = about.split(": ");
  about = "";
  const mine = renamed(body, names);
  if (what === "shown") return;
  if (what === "file") return writeFileSync(name.endsWith(".mjs") ? at("build", name) : at("srv", name), mine);
  if (what === ".gitlab-ci.yml") pipeline = mine;
  else if (what.startsWith("part of ")) await taken(what.slice("part of ".length), mine);
  else if (language === "sh" && what === "stays on") await staysOn(name, mine.trim());
  else if (language === "sh") await typed(mine.replaceAll("rec_…", lastRecord(output)), what === "fails");
  else if (language === "text") {
    if (what === "says") show(await said(name));
    compared(body, what === "as seen" ? everything : output, line);
  } else throw new TypeError(`nobody says what the ${language} block in line ${line} is for`);
}

const lastRecord = (text: string): string => /rec_[0-9a-z]+(?!.*rec_)/s.exec(text)?.[0] ?? "rec_…";

function compared(body: string, seen: string, line: number): void {
  // The broker's log, and what Node says of its packages, stand between what is printed for people.
  const people = seen.replaceAll(/^(\{"level"|\(node:|\(Use `node).*\n| +$/gm, "");
  const here = names.map(([there, real]) => [real, there] as const);
  const { source } = outputPattern(body);
  // Of all that was seen, a part.
  const pattern = new RegExp(seen === everything ? source.slice(1, -1) : source);
  expect(sameBlanks(renamed(people, here)), `the output in line ${line}`).toMatch(pattern);
}

/** Of somebody who is no job. */
async function waiting(...regions: readonly string[]): Promise<void> {
  const server = renamed("nats://127.0.0.1:4223", names);
  const publish = regions.map(
    (region) => `nats --server ${server} --creds two.creds pub deploy.events.${region} ${region}`,
  );
  await typed(["wayleave nats admin --account CI --out two.creds", ...publish].join("\n"), false);
}

/** Commands of the operator. */
async function typed(script: string, fails: boolean): Promise<void> {
  const { status, output: text } = await runScript(script, { cwd: at("srv"), env: shellEnv() });
  expect(status !== 0, `${script}${text}`).toBe(fails);
  show(text);
}

const ready: Readonly<Record<string, RegExp>> = { serve: /waiting .*\n/, "nats-server": /ready/, listener: /Subscrib/ };

async function staysOn(name: string, command: string): Promise<void> {
  const child = startCommand(command, { cwd: at("srv"), env: shellEnv() });
  running.set(name, child);
  await child.said(ready[name] ?? /./);
  show(child.output());
}

/** All that it has said, once the last line of it is there. */
async function said(name: string): Promise<string> {
  const child = running.get(name);
  await child?.said(/passed\n/);
  return child?.output() ?? "";
}

/** A part of the gateway's configuration or of policy is taken, with the rest as it stands. */
async function taken(where: string, part: string): Promise<void> {
  const [file, command] = where === "policy.yaml" ? [where, "policy"] : ["wayleave.yaml", "config"];
  const whole = parse(readFileSync(at("srv", file), "utf8"));
  const more = parse(part);
  if (command === "config") Object.assign(whole.gateways[0], more);
  else Object.assign(whole.targets, more.targets);
  writeFileSync(at("srv", `other-${file}`), stringify(whole));
  const checked = command === "config" ? "config check --config other-wayleave.yaml" : "policy check other-policy.yaml";
  await typed(`wayleave ${checked}`, false);
}

async function reached(): Promise<void> {
  const operated = { broker: { adminSocket: at("srv", "data", "admin.sock") } };
  for (;;) {
    const { body } = await askOperator<NatsStatusResponse>(operated, "GET", "/v1/nats");
    if (body.gateways.every(({ callout, system }) => callout.answering && system.connected)) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A time of today that was printed, and the second that it names is over. */
async function until(time: string): Promise<void> {
  const today = new Date().toISOString().slice(0, 10);
  const when = Date.parse(`${time.includes(" ") ? time.replace(" ", "T") : `${today}T${time}`}Z`);
  expect(when).not.toBeNaN();
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, when + 1_000 - Date.now())));
}
