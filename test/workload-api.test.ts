import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { workloadClient } from "../src/cli/job/workload-client.fake.ts";
import { type Done, type JobProcess, run, startWayleave, wayleave } from "./job-process.ts";
import { type GitlabJob, type JobWorld, startJobWorld } from "./job-world.ts";
import { startMtlsEnvoy } from "./mtls-envoy.ts";

const clients = fileURLToPath(new URL("../.cache/test-clients", import.meta.url));
const client = fileURLToPath(new URL("spiffe-client.py", import.meta.url));
const permissionDenied = 7;

let at: JobWorld;
let folder: string;
let own: string;
/** Everything the job may be: one identity for each role whose condition holds. */
let both: string[];
const commands: JobProcess[] = [];

beforeAll(async () => {
  at = await startJobWorld();
  folder = mkdtempSync(join(tmpdir(), "wayleave-spiffe-"));
  own = `spiffe://${at.world.config.trustDomain}/role/read-billing`;
  both = [own, own.replace("read-billing", "report")];
});
afterAll(async () => {
  await at?.close();
  rmSync(folder, { recursive: true, force: true });
});

afterEach(async () => {
  await Promise.all(commands.splice(0).map((command) => command.finish()));
});

/** A command under `exec` that only stays, and the address of its socket. */
async function staying({ env }: Pick<GitlabJob, "env">): Promise<{ command: JobProcess; socket: string }> {
  const say = 'echo "$SPIFFE_ENDPOINT_SOCKET"; cat';
  const command = startWayleave(env, "exec", "--target", `billing=${at.edge}`, "--", "sh", "-c", say);
  commands.push(command);
  return { command, socket: await command.line() };
}

/** The public library as a workload: an environment with the socket's address, and nothing of ours. */
function python(socket: string, ...services: readonly string[]): Promise<Done> {
  const env = {
    PATH: process.env.PATH ?? "",
    HOME: folder,
    PYTHONPATH: clients,
    PYTHONDONTWRITEBYTECODE: "1",
    SPIFFE_ENDPOINT_SOCKET: socket,
  };
  // Without the system's own packages, which may not fit those of the list.
  return run("python3", ["-S", client, folder, ...services], env);
}

describe.skipIf(!existsSync(join(clients, "spiffe")))("a SPIFFE library that nobody here wrote", () => {
  test("fetches every kind of SVID and completes mutual TLS with an Envoy of the job", async () => {
    const job = await at.startJob();
    const { command, socket } = await staying(job);
    const sds = { path: socket.slice("unix://".length) };
    const [right, wrong] = await Promise.all([
      startMtlsEnvoy({ sds, accepts: [own] }),
      startMtlsEnvoy({ sds, accepts: [own.replace("read-billing", "release")], certificate: own, roots: "ALL" }),
    ]);
    const services = [`${right.port()}=${own}`, `${right.port()}=${own}2`, `${wrong.port()}=${own}`];
    const { out, err } = await python(socket, ...services);
    const found = JSON.parse(out || JSON.stringify({ failed: err }));
    expect(found).toMatchObject({ x509: both, x509_bundles: [at.world.config.trustDomain], jwt: own, validated: own });
    expect(found.tls).toEqual([
      { peer: [own], status: "HTTP/1.1 200 OK" },
      { peer: [own], problem: "another service" },
      { problem: expect.stringMatching(/^(SSL\w*Error|ConnectionResetError): /) },
    ]);
    await Promise.all([right, wrong].map((envoy) => envoy.stop().then(envoy.remove)));

    const { err: said } = await command.finish();
    const session = /session (ses_\w+) opened/.exec(said)?.[1];
    const serial = new X509Certificate(readFileSync(join(folder, "leaf.pem"))).serialNumber.toLowerCase();
    const minted = at.records.of("svid.minted").filter((record) => record.data.serial === serial);
    expect(minted.map((record) => [record.session, record.job?.job_id])).toEqual([[session, String(job.job.id)]]);
  });

  test("openssl accepts the chain as strictly as it can", () => {
    const strict = ["verify", "-x509_strict", "-check_ss_sig", "-policy_check", "-CAfile", "bundle.pem"];
    const said = execFileSync("openssl", [...strict, "-untrusted", "chain.pem", "leaf.pem"], { cwd: folder });
    expect(String(said)).toBe("leaf.pem: OK\n");
    for (const purpose of ["sslclient", "sslserver"]) {
      const args = [...strict, "-purpose", purpose, "-untrusted", "chain.pem", "leaf.pem"];
      expect(String(execFileSync("openssl", args, { cwd: folder }))).toBe("leaf.pem: OK\n");
    }
  });

  test("is told no once the session is over", async () => {
    const job = await at.startJob();
    const { command, socket } = await staying(job);
    expect((await wayleave(job.env, "end")).status).toBe(0);
    const { status, err } = await python(socket);
    expect(status).not.toBe(0);
    expect(err).toMatch(/PERMISSION_DENIED|session_ended/);
    await command.finish();
  });
});

describe("the socket of each command", () => {
  test("two in parallel have one each, which go with them; what was killed is swept by the next", async () => {
    const job = await at.startJob();
    const [first, second] = [await staying(job), await staying(job)];
    const path = ({ socket }: { socket: string }) => socket.slice("unix://".length);
    const name = (one: { socket: string }) => basename(path(one));
    const there = () => readdirSync(dirname(path(first)));
    expect(there()).toEqual(expect.arrayContaining([name(first), name(second)]));
    expect(name(first)).not.toBe(name(second));
    await first.command.killGroup();
    expect(there(), "nothing cleans up after SIGKILL").toContain(name(first));
    const third = await staying(job);
    await expect.poll(there).not.toContain(name(first));
    expect(there()).toEqual(expect.arrayContaining([name(second), name(third)]));
    await Promise.all([second, third].map(({ command }) => command.finish()));
    expect(there()).not.toEqual(expect.arrayContaining([name(second)]));
    expect(there()).not.toEqual(expect.arrayContaining([name(third)]));
  });

  test("the session's end cuts its streams at the next heartbeat", async () => {
    const job = await at.startJob();
    const { command, socket } = await staying(job);
    const workload = workloadClient(socket);
    const stream = workload.x509Svids();
    expect((await stream.next()).svids.map(({ spiffeId }) => spiffeId)).toEqual(both);
    await wayleave(job.env, "end");
    await expect(stream.next()).rejects.toMatchObject({ code: permissionDenied });
    workload.close();
    await command.finish();
  });
});
