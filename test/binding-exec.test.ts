import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type JobEnv, startWayleave, wayleave } from "./job-process.ts";
import { type JobWorld, startJobWorld } from "./job-world.ts";
import { operatorRecords } from "./operator.ts";

const policy = `version: 1
targets:
  billing: { http: { hosts: [billing.localhost] } }
  reports: { http: { hosts: [reports.localhost] }, proof: required }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read: { for: [shop], allow: { billing: ["GET /v1/**"], reports: ["GET /v1/**", "POST /v1/**"] } }
`;

let at: JobWorld;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wayleave-binding-"));
  writeFileSync(join(folder, "policy.yaml"), policy);
  at = await startJobWorld({ world: { policy: join(folder, "policy.yaml") } });
});
afterAll(async () => {
  await at?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Obeys the lines of its stdin: target, method, path, body; prints the status. */
function execBoth(env: JobEnv, targets: readonly string[]) {
  const request =
    'eval "url=\\$WAYLEAVE_${target}_URL"; curl -s -o /dev/null -w "%{http_code}\\n" -X "$method" -d "$body" "$url$path"';
  const obey = `case $target in file) echo "\${WAYLEAVE_TOKEN_FILE:-none}" ;; *) ${request} ;; esac`;
  const edge = (name: string) => at.world.edgeUrl(`${name}.localhost`).replace(`${name}.localhost`, "127.0.0.1");
  const asked = targets.flatMap((name) => ["--target", `${name}=${edge(name)}`]);
  return startWayleave(
    env,
    "exec",
    ...asked,
    "--",
    "sh",
    "-c",
    `while read -r target method path body; do ${obey}; done`,
  );
}

const decisions = (session: string, target: string) =>
  operatorRecords(at.world, `session=${session}&kind=decision&target=${target}`);
const sessionOf = (err: string) => /session (ses_\w+)/.exec(err)?.[1] ?? "";

test("a job's commands reach a target that wants proofs as they reach any other, through a real NGINX", async () => {
  const job = await at.startJob();
  const exec = execBoth(job.env, ["billing", "reports"]);
  expect(await exec.ask("BILLING GET /v1/invoices/42")).toBe("200");
  expect(await exec.ask("REPORTS GET /v1/coverage?branch=main&a=b")).toBe("200");
  expect(await exec.ask("REPORTS GET /v1/coverage?branch=main&a=b")).toBe("200");
  expect(await exec.ask("REPORTS POST /v1/coverage a=1&b=2")).toBe("201");
  expect(await exec.ask("REPORTS GET /elsewhere")).toBe("403");
  const { err } = await exec.finish();
  expect(err).toContain("denied  GET reports /elsewhere");
  const made = await decisions(sessionOf(err), "reports");
  expect(made.map(({ data }) => (data as { outcome: string }).outcome)).toEqual(["deny", "allow", "allow", "allow"]);
  const forwarded = at.world.upstream.served.at(-1)?.headers ?? {};
  expect([forwarded.authorization, forwarded.dpop]).toEqual([undefined, undefined]);
});

test("a job that asks for such a target alone gets no token file, which nobody could use", async () => {
  const job = await at.startJob();
  const exec = execBoth(job.env, ["reports"]);
  expect(await exec.ask("REPORTS GET /v1/coverage")).toBe("200");
  expect(await exec.ask("file")).toBe("none");
  expect((await exec.finish()).status).toBe(0);
});

test("wayleave token says why it writes none for it, and what to do", async () => {
  const job = await at.startJob();
  const { status, err, out } = await wayleave(job.env, "token", "--target", "reports");
  expect([status, out]).toEqual([3, ""]);
  expect(err.replace(/\s+/g, " ")).toContain("wayleave exec --target reports");
});

test("a bearer token of the same job is refused there, and the job's log says why", async () => {
  const job = await at.startJob();
  const { out } = await wayleave(job.env, "token", "--stdout", "--target", "billing");
  const answer = await at.world.client.call("GET", `${at.world.edgeUrl("reports.localhost")}/v1/coverage`, out.trim());
  expect([answer.status, answer.reason]).toEqual([401, "proof_required"]);
  const { out: story } = await wayleave(job.env, "explain", answer.record ?? "");
  expect(story).toContain("bound to a key");
  expect(story).toContain("wayleave exec");
});

test("a restart of the broker in between is not noticed: nonces are followed", async () => {
  const job = await at.startJob();
  const exec = execBoth(job.env, ["reports"]);
  expect(await exec.ask("REPORTS GET /v1/coverage")).toBe("200");
  await at.world.restartBroker();
  const second = execBoth(job.env, ["reports"]);
  expect(await second.ask("REPORTS GET /v1/coverage")).toBe("200");
  expect([(await second.finish()).status, (await exec.finish()).status]).toEqual([0, 0]);
});
