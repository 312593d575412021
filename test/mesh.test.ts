import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeJwt } from "jose";
import { request } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { type RunningEnvoy, startEnvoy } from "../demo/envoy.ts";
import { startWayleave } from "../demo/wayleave-process.ts";
import type { X509SvidResponse } from "../src/api/svid.ts";
import type { Certificate } from "./mesh-calls.ts";
import { type MeshJob, type MeshLab, startMeshLab } from "./mesh-lab.ts";
import { opensslCsr } from "./spiffe-lab.ts";

/** One job through NGINX and an Envoy sidecar that decides natively, with mutual TLS between them: the world of the demo. */
let lab: MeshLab;
let oldJob: MeshJob;
let oldAssertion: string;

beforeAll(async () => {
  lab = await startMeshLab({
    mesh: {},
    gateways: async () => [{ name: "edge-2", kind: "nginx", targets: ["billing"] }],
  });
  oldJob = await lab.openJob();
  oldAssertion = await lab.assertionFor(oldJob.token, "/v1/invoices/1");
});
afterAll(() => lab?.close());

const served = () => lab.world.upstream.served.length;

/** `wayleave verify` of a job; resolves with what it said once it ends with this status. */
const verify = (job: MeshJob, status: number, wait = "20") =>
  startWayleave(
    ["verify", String(job.job.id), "--config", lab.world.configPath, "--wait", wait],
    lab.world.directory,
  ).exited(status);

describe("a job's requests", () => {
  test("are allowed, denied and, after its end, refused at both hops, and verify finds every hop", async () => {
    const job = await lab.openJob();
    const read = { path: "/v1/invoices/42" };
    expect((await lab.atEdge(job.token, read)).status).toBe(200);
    expect((await lab.atEdge(job.token, { method: "POST", path: "/v1/releases" })).status).toBe(403);
    const assertion = await lab.assertionFor(job.token, read.path);
    expect((await lab.atSidecar(assertion, read)).status).toBe(200);

    lab.ci.gitlab.succeedJob(job.job);
    await lab.ci.gitlab.flush();
    const before = served();
    expect((await lab.atEdge(job.token, read)).status).toBe(401);
    await expect.poll(async () => (await lab.atSidecar(assertion, read)).status).toBe(403);
    expect(served()).toBe(before);
  });

  test("that were made the usual way confirm each other, hop by hop", async () => {
    const job = await lab.openJob();
    expect((await lab.atEdge(job.token, { path: "/v1/invoices/7" })).status).toBe(200);
    expect((await lab.atEdge(job.token, { path: "/v1/admin" })).status).toBe(403);
    lab.ci.gitlab.appendTrace(job.job, `wayleave: session ${job.session} opened\n`);
    lab.ci.gitlab.succeedJob(job.job);
    await lab.ci.gitlab.flush();
    expect((await lab.atEdge(job.token, { path: "/v1/invoices/7" })).status).toBe(401);
    const told = await verify(job, 0);
    expect(told).toContain("edge-1  GET /v1/invoices/7  allow  200");
    expect(told).toContain("billing-sidecar  GET /v1/invoices/7  allow  200");
    expect(told).toContain("peer spiffe://acme.example/gateway/edge-1");
    expect(told).toContain("enforced natively");
    expect(told).toContain("Every hop confirms the same identity.");
  });

  test("carry no identity that the client made up", async () => {
    const forged = {
      "x-wayleave-subject": "spoofed",
      "x-wayleave-session": "spoofed",
      x_wayleave_subject: "spoofed",
      "txn-token": "spoofed",
      "x-forwarded-client-cert": "URI=spoofed",
    };
    const { status } = await lab.atEdge(oldJob.token, { path: "/v1/invoices/5", headers: forged });
    const seen = lab.world.upstream.served.filter(({ url }) => url === "/v1/invoices/5");
    expect([status, seen.length]).toEqual([200, 1]);
    expect(JSON.stringify(seen)).not.toContain("spoofed");
    expect(JSON.stringify(seen)).not.toContain(oldJob.token);
    expect(seen[0]?.headers["x-wayleave-session"]).toBe(oldJob.session);
    const unknown = { "x-wayleave-token": "spoofed" };
    expect((await lab.atEdge(oldJob.token, { path: "/v1/invoices/5", headers: unknown })).status).toBe(403);
  });
});

describe("the sidecar, asked past the edge", () => {
  const path = "/v1/invoices/42";
  let job: MeshJob;
  let assertion: string;
  beforeAll(async () => {
    job = await lab.openJob();
    assertion = await lab.assertionFor(job.token, path);
  });

  /** Nothing is served, whatever the refusal is; the connection's own error where there was no answer. */
  async function refused(ask: () => Promise<{ readonly status: number }>): Promise<number | string> {
    const before = served();
    const status = await ask().then(
      (answer) => answer.status,
      (error: NodeJS.ErrnoException) => error.code ?? error.message,
    );
    expect(served()).toBe(before);
    return status;
  }

  /** Envoy's word for a certificate it does not want, or for none. */
  const noHandshake = /^ERR_SSL_.*ALERT/;

  test("serves what the edge could have asked: everything below is refused for its own reason", async () => {
    expect((await lab.atSidecar(assertion, { path })).status).toBe(200);
  });

  test("refuses a client without a certificate, in the handshake", async () => {
    expect(await refused(() => lab.atSidecar(assertion, { path, as: "nobody" }))).toMatch(noHandshake);
  });

  test("refuses another gateway's SVID, in the handshake", async () => {
    const { world } = lab;
    const out = join(world.directory, "edge-2");
    mkdirSync(out);
    const secret = join(world.directory, "edge-2.secret");
    const args = ["svid", "fetch", "--gateway", "edge-2", "--secret-file", secret, "--out", out];
    await startWayleave([...args, "--url", world.config.issuer], world.directory).exited(0);
    const as = { cert: readFileSync(join(out, "svid.pem")), key: readFileSync(join(out, "svid.key")) };
    expect(await refused(() => lab.atSidecar(assertion, { path, as }))).toMatch(noHandshake);
  });

  test("refuses a job's own SVID, in the handshake", async () => {
    const as = await roleSvid(job);
    expect(await refused(() => lab.atSidecar(assertion, { path, as }))).toMatch(noHandshake);
  });

  const bearer = () => ({ authorization: `Bearer ${job.token}` });
  test.each([
    ["nothing", 401, () => ["", {}]],
    ["the job's access token as such", 401, () => ["", bearer()]],
    ["the job's access token as an assertion", 403, () => [job.token, {}]],
    ["the job's access token as both", 403, () => [job.token, bearer()]],
    ["an assertion as a bearer token", 401, () => ["", { authorization: `Bearer ${assertion}` }]],
    ["an assertion whose signature is another's", 401, () => [spliced(assertion, oldAssertion), {}]],
    ["an assertion without its signature", 401, () => [`${assertion.split(".").slice(0, 2).join(".")}.`, {}]],
    ["a refresh token", 401, () => [job.refreshToken, {}]],
  ] as [string, number, () => [string, Record<string, string>]][])(
    "refuses %s with %d",
    async (_what, status, make) => {
      const [txn, headers] = make();
      expect(await refused(() => lab.atSidecar(txn, { path, headers }))).toBe(status);
    },
  );

  test("refuses two assertions at once: an ended session's would hide behind a living one's", async () => {
    const ended = await lab.openJob();
    const stolen = await lab.assertionFor(ended.token, path);
    lab.ci.gitlab.succeedJob(ended.job);
    await lab.ci.gitlab.flush();
    await expect.poll(() => refused(() => lab.atSidecar(stolen, { path }))).toBe(403);
    for (const both of [
      [stolen, assertion],
      [assertion, stolen],
      [assertion, assertion],
    ]) {
      expect(await refused(() => lab.atSidecar("", { path, headers: { "txn-token": both } }))).toBe(403);
      const joined = { "txn-token": both.join(",") };
      expect(await refused(() => lab.atSidecar("", { path, headers: joined }))).not.toBe(200);
    }
  });

  test.each([
    ["of another method", "DELETE", path],
    ["of a path its role does not have", "GET", "/v1/admin"],
    ["of an ambiguous path", "GET", "/v1/invoices/../admin"],
  ])("refuses an assertion for a request %s", async (_what, method, asked) => {
    expect(await refused(() => lab.atSidecar(assertion, { method, path: asked }))).toBe(403);
  });

  test("refuses an assertion for a request that is asked about, by its hash", async () => {
    expect(await refused(() => lab.atSidecar(assertion, { method: "POST", path: "/v1/releases" }))).toBe(401);
  });

  test("refuses an assertion for another target's host", async () => {
    const headers = { host: "reports.localhost" };
    expect(await refused(() => lab.atSidecar(assertion, { path, headers }))).toBe(403);
  });

  test("passes on no identity that the edge made up beside the assertion", async () => {
    const asked = `${path}?forged`;
    const headers = { "x-wayleave-subject": "spoofed", "x-wayleave-job": "spoofed", "x-wayleave-role": "spoofed" };
    const { status } = await lab.atSidecar(assertion, { path: asked, headers });
    const seen = lab.world.upstream.served.filter(({ url }) => url === asked);
    expect([status, seen.length]).toEqual([200, 1]);
    expect(JSON.stringify(seen)).not.toContain("spoofed");
    expect(seen[0]?.headers["x-wayleave-session"]).toBe(job.session);
    expect(seen[0]?.headers["txn-token"]).toBe(assertion);
  });

  test("refuses an assertion past its time, although its session lives", async () => {
    const { exp = 0 } = decodeJwt(oldAssertion);
    const ask = () => lab.atSidecar(oldAssertion, { path: "/v1/invoices/1" });
    await expect.poll(async () => (await ask()).status, { timeout: 35_000, interval: 250 }).toBe(401);
    expect(Date.now() / 1000).toBeGreaterThanOrEqual(exp);
    expect((await lab.atEdge(oldJob.token, { path: "/v1/invoices/1" })).status).toBe(200);
  });
});

/** A certificate as `acme/shop`'s own: a role's SVID in the same trust domain. */
async function roleSvid({ refreshToken }: MeshJob): Promise<Certificate> {
  const { world } = lab;
  const folder = join(world.directory, "job-svid");
  mkdirSync(folder, { recursive: true });
  const csr = opensslCsr(folder, ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]).toString("base64");
  const { statusCode, body } = await request(`${world.config.issuer}/v1/svid/x509`, {
    method: "POST",
    headers: { authorization: `Bearer ${refreshToken}`, "content-type": "application/json" },
    body: JSON.stringify({ csr, role: "read-billing" }),
  });
  expect(statusCode).toBe(200);
  const { certificates } = (await body.json()) as X509SvidResponse;
  const pem = (der: string) => `-----BEGIN CERTIFICATE-----\n${der}\n-----END CERTIFICATE-----\n`;
  return { cert: certificates.map(pem).join(""), key: readFileSync(join(folder, "req.key")) };
}

/** The words of one with the signature of another. */
function spliced(one: string, other: string): string {
  return [...one.split(".").slice(0, 2), other.split(".")[2]].join(".");
}

describe("a hop whose log is missing", () => {
  let changed: RunningEnvoy | undefined;
  afterAll(() => changed?.stop());

  test("Envoy's: verify ends with 3 and names the sidecar", async () => {
    await lab.mesh.envoy.stop();
    const directory = join(lab.world.directory, "envoy");
    const config = parse(readFileSync(join(directory, "envoy.yaml"), "utf8"));
    const manager = config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
    const before = manager.access_log.length;
    manager.access_log = manager.access_log.filter(({ name }: { name: string }) => !name.includes("grpc"));
    expect(manager.access_log.length).toBe(before - 1);
    writeFileSync(join(directory, "silent.yaml"), stringify(config));
    changed = await startEnvoy({ directory, config: "silent.yaml" });

    const told = await verify(await finishedJob(), 3, "4");
    expect(told).toMatch(/MISSING +billing-sidecar: a request was passed on, and the next hop knows nothing of it/);
    expect(told).not.toMatch(/MISSING +edge-1/);
    await changed.stop();
    changed = await startEnvoy({ directory, config: "envoy.yaml" });
    await verify(await finishedJob(), 0);
  });

  test("NGINX's: verify ends with 3 and names the edge", async () => {
    await lab.mesh.follow.stop();
    const told = await verify(await finishedJob(), 3, "4");
    expect(told).toMatch(/MISSING +edge-1/);
    expect(told).not.toMatch(/MISSING +billing-sidecar/);
  });

  async function finishedJob(): Promise<MeshJob> {
    const job = await lab.openJob();
    lab.ci.gitlab.appendTrace(job.job, `wayleave: session ${job.session} opened\n`);
    expect((await lab.atEdge(job.token, { path: "/v1/invoices/9" })).status).toBe(200);
    lab.ci.gitlab.succeedJob(job.job);
    await lab.ci.gitlab.flush();
    return job;
  }
});
