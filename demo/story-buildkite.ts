import { randomBytes } from "node:crypto";
import { startBuildkite } from "./buildkite/buildkite.ts";
import {
  ago,
  expectExchange,
  expectStatus,
  newestRecord,
  type Running,
  type StoryOptions,
  tellCall,
} from "./story-step.ts";
import { tellInWorld } from "./tell-in-world.ts";
import type { CiPart, DemoWorld, WorldOptions } from "./world.ts";

/** A simulated Buildkite with one pipeline, its API token and a signed webhook. */
export async function startBuildkiteCi(brokerUrl: string, ca: Parameters<WorldOptions["ci"]>[1]) {
  const buildkite = await startBuildkite({ now: Date.now, tls: ca.issue(["localhost", "127.0.0.1"]) });
  const pipeline = buildkite.createPipeline({ slug: "shop-e2e", repository: "git@git.acme.example:acme/shop.git" });
  const token = randomBytes(24).toString("hex");
  buildkite.addWebhook({ url: `${brokerUrl}/hooks/buildkite/acme`, token, auth: "signature" });
  const part: CiPart = {
    issuer: {
      name: "buildkite",
      type: "buildkite",
      url: buildkite.issuer,
      ca_file: "ca.pem",
      api: { url: `${buildkite.localUrl}/v2`, token_file: "buildkite-api.token" },
      webhooks: [{ name: "acme", projects: [pipeline.id], signing_token_file: "buildkite-hook.token" }],
    },
    files: { "buildkite-api.token": buildkite.createApiToken(), "buildkite-hook.token": token },
  };
  return { buildkite, pipeline, part };
}

/** A smoke test's job: reads, may do nothing else, and a fork's build gets nothing at all. */
export function tellBuildkite({ tell, directory, nginx }: StoryOptions): Promise<Running> {
  return tellInWorld({
    directory,
    startCi: startBuildkiteCi,
    closeCi: ({ buildkite }) => buildkite.close(),
    steps: (world, ci) => tellSteps(tell, world, ci, nginx),
  });
}

const claims = ["organization_id", "pipeline_id", "build_id"];

async function tellSteps(
  tell: StoryOptions["tell"],
  world: DemoWorld,
  { buildkite, pipeline }: Awaited<ReturnType<typeof startBuildkiteCi>>,
  nginx: string,
): Promise<void> {
  tell.title(`Wayleave demo   nginx ${nginx} · sqlite · demo/policy.yaml (2 targets, 3 roles, 6 tests passed)`);
  const { client } = world;
  const [job] = buildkite.startBuild(pipeline, { steps: [{ name: "smoke", key: "smoke" }], branch: "main" }).jobs;
  if (job === undefined) throw new TypeError("the build has a job");
  buildkite.startJob(job);
  const token = await buildkite.oidcToken(job, { audience: world.config.issuer, claims });
  tell.step({ who: "job", what: "acme/shop-e2e step smoke asks its agent for an OIDC token" });

  const opened = expectExchange(await client.exchange(token));
  tell.step({ who: "job", what: `build looked up (no fork), session ${opened.session}`, record: opened.record });

  const edge = world.edgeUrl("billing.localhost");
  const read = { method: "GET", url: `${edge}/v1/health`, token: opened.token };
  await tellCall(
    { tell, world },
    { ...read, expect: 200 },
    (result) => `through nginx, ${result.tookMs.toFixed(1)} ms`,
  );
  const release = { method: "POST", url: `${edge}/v1/releases`, token: opened.token, expect: 403 };
  const refused = await tellCall({ tell, world }, release, (result) => `reason ${result.reason ?? "?"}`);

  const [forked] = buildkite.startBuild(pipeline, {
    steps: [{ name: "smoke", key: "smoke" }],
    branch: "main",
    pullRequest: { id: "9", base: "main", repository: "git@git.example:mallory/shop.git" },
  }).jobs;
  if (forked === undefined) throw new TypeError("the build has a job");
  buildkite.startJob(forked);
  const forkToken = await buildkite.oidcToken(forked, { audience: world.config.issuer, claims });
  const denied = await client.exchange(forkToken);
  expectStatus("the fork's exchange", denied.status, 400, denied.body);
  const refusedFork = await newestRecord(world, "kind=exchange.refused");
  tell.step({
    who: "fork",
    what: "a fork's build asks for the same",
    note: `refused: ${String(denied.body.code)}`,
    record: refusedFork?.id,
  });

  buildkite.finishJob(job);
  const endedAt = performance.now();
  await buildkite.flush();
  const ended = await newestRecord(world, "kind=session.ended");
  tell.step({ who: "buildkite", what: "job finished, exit status 0", record: ended?.id });
  await tellCall(
    { tell, world },
    { ...read, expect: 401 },
    () => `session ended ${ago(performance.now() - endedAt)} ago`,
  );

  tell.line();
  tell.line("Try it yourself:");
  const config = "--config .wayleave-demo/wayleave.yaml";
  tell.line(`  bin/wayleave audit list ${config} --session ${opened.session}`);
  tell.line(`  bin/wayleave explain ${config} ${refused.record ?? ""}`);
}
