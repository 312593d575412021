import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "@nats-io/transport-node";
import { expect, onTestFinished, test } from "vitest";
import { startNatsWorld } from "../demo/nats-world.ts";
import { startBuildkiteCi } from "../demo/story-buildkite.ts";
import { startWayleave } from "./job-process.ts";
import { rawClient } from "./nats-gateway-lab.ts";
import { attackPolicy } from "./nats-proof-attack-lab.ts";
import { type NatsProofOptions, startProof, until } from "./nats-proof-world.ts";
import { followRecords } from "./record-stream.ts";

async function proofOf(more: Partial<NatsProofOptions> = {}) {
  const proof = await startProof({ policy: attackPolicy, projects: ["acme/shop", "acme/worker"], ...more });
  onTestFinished(() => proof.close());
  return proof;
}

async function recordsOf({ broker }: { readonly broker: Parameters<typeof followRecords>[0]["broker"] | undefined }) {
  if (broker === undefined) throw new TypeError("the broker runs in this process");
  const records = await followRecords({ broker });
  onTestFinished(() => records.close());
  return records;
}

const buildkitePolicy = `version: 1
targets:
  events: { nats: { account: CI } }
who:
  smoke: { buildkite: { organization: acme, pipeline: shop-e2e, step: smoke } }
roles:
  status: { for: [smoke], allow: { events: [pub build.>] } }
`;

test("a session that its job renews keeps its connections past its first hard end", { timeout: 60_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-nats-review-"));
  writeFileSync(join(directory, "policy.yaml"), buildkitePolicy);
  const cis: Awaited<ReturnType<typeof startBuildkiteCi>>[] = [];
  const world = await startNatsWorld({
    directory: join(directory, "world"),
    policy: join(directory, "policy.yaml"),
    timings: { tokenTtlMs: 2_000, renewWithinMs: 4_000 },
    async ci(brokerUrl, ca) {
      const started = await startBuildkiteCi(brokerUrl, ca);
      cis.push(started);
      return started.part;
    },
  });
  onTestFinished(async () => {
    await world.close();
    for (const { buildkite } of cis) await buildkite.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const records = await recordsOf(world);
  const [ci] = cis;
  const [job] =
    ci?.buildkite.startBuild(ci.pipeline, { steps: [{ name: "smoke", key: "smoke" }], branch: "main" }).jobs ?? [];
  if (ci === undefined || job === undefined) throw new TypeError("the build has a job");
  ci.buildkite.startJob(job);
  const folder = (name: string) => {
    mkdirSync(join(directory, name), { mode: 0o700 });
    return join(directory, name);
  };
  const command = startWayleave(
    {
      PATH: process.env.PATH ?? "",
      HOME: folder("home"),
      XDG_RUNTIME_DIR: folder("run"),
      BUILDKITE_BUILD_CHECKOUT_PATH: folder("project"),
      SSL_CERT_FILE: join(world.directory, "ca.pem"),
      NODE_EXTRA_CA_CERTS: join(world.directory, "ca.pem"),
      WAYLEAVE_URL: world.config.issuer,
      BUILDKITE_JOB_ID: job.id,
      BUILDKITE_ORGANIZATION_SLUG: ci.buildkite.organization.slug,
      BUILDKITE_LABEL: job.name,
      BUILDKITE_AGENT_ENDPOINT: `${ci.buildkite.localUrl}/v3`,
      BUILDKITE_AGENT_ACCESS_TOKEN: job.accessToken,
    },
    ...["exec", "--target", "events", "--", "sh", "-c"],
    'echo "$NATS_USER $NATS_PASSWORD"; read -r line',
  );
  const [user = "", pass = ""] = (await command.line()).split(" ");
  const client = await connect({ servers: world.natsUrl, user, pass, reconnect: false });
  onTestFinished(() => client.close());
  const [opened] = records.of("session.opened");
  if (opened?.session === undefined) throw new TypeError("exec opened a session");
  const { session, data } = opened;
  const renewedAfter = (record: { readonly session?: string; readonly time: string }) =>
    record.session === session && Date.parse(record.time) > data.hard_end_at + 1_000;
  await records.until("session.renewed", renewedAfter);
  client.publish("build.late");
  await client.flush();
  expect(records.of("nats.connected", session)).toHaveLength(1);
  expect(records.of("nats.disconnected", session)).toEqual([]);
  ci.buildkite.finishJob(job);
  await ci.buildkite.flush();
  expect(String(await client.closed())).toMatch(/session ended: job finished/);
  await command.finish();
});

test("direct mode: a suspended session's connections are closed at the server, and come back with it", {
  timeout: 60_000,
}, async () => {
  const proof = await proofOf({
    gateway: { direct: true },
    timings: { beatMs: 200, suspendAfterMs: 1_000, endAfterMs: 60_000 },
  });
  const records = await recordsOf(proof.world);
  const job = await proof.startJob("acme/worker");
  const { user = "", password: pass = "" } = await job.credential();
  const session = await job.session();
  const dial = () => connect({ servers: proof.world.server.address, user, pass, reconnect: false });
  const client = await dial();
  await job.ask("lease", { lease: "command_0001" });
  await records.until("session.suspended", (record) => record.session === session);
  await client.closed();
  await expect(dial()).rejects.toThrow();
  await job.ask("lease", { lease: "command_0001" });
  await (await dial()).close();
});

test("a batch of JetStream's that a reply names is nobody's to order about", async () => {
  const proof = await proofOf();
  const records = await recordsOf(proof.world);
  const job = await proof.startJob("acme/shop");
  const { password = "" } = await job.credential();
  const raw = await rawClient(Number(new URL(proof.world.natsUrl).port));
  await raw.enter(password);
  raw.say("PUB event.shop _INBOX.a.batch.10.ok.1.0.$FI 1\r\nx\r\nPING\r\n");
  await until(() => raw.heard().includes("PONG"));
  expect(raw.heard()).toContain('-ERR \'Permissions Violation for Publish to "event.shop"');
  const { data } = await records.until("decision", (record) => record.session !== undefined);
  expect(data).toMatchObject({ operation: "req event.shop", outcome: "deny", reason: "subject_refused" });
});

test("a job that begins and ends subscriptions without end keeps no other job out", { timeout: 60_000 }, async () => {
  const proof = await proofOf({ process: true });
  const { user, password: pass } = await (await proof.startJob("acme/shop")).credential();
  const { socket } = await rawClient(Number(new URL(proof.world.natsUrl).port));
  const flood = `SUB _INBOX.a 1\r\n${"UNSUB 1 5\r\n".repeat(3_000)}UNSUB 1\r\n`;
  const more = () => {
    while (!socket.destroyed && socket.write(flood));
  };
  socket.write(`CONNECT ${JSON.stringify({ user, pass, headers: true })}\r\n`);
  socket.on("drain", more);
  more();
  for (let at = 0; at < 8; at++) await (await (await proof.startJob("acme/worker")).connect()).close();
});
