import { randomBytes } from "node:crypto";
import { type Gitlab, startGitlab } from "./gitlab/gitlab.ts";
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

/** The people, project and job of the story, inside a simulated self-managed GitLab (private CA, relative root). */
export async function startGitlabCi(brokerUrl: string, ca: Parameters<WorldOptions["ci"]>[1]) {
  const gitlab = await startGitlab({ now: Date.now, root: "/gitlab", tls: ca.issue(["localhost", "127.0.0.1"]) });
  const dana = gitlab.createUser({ username: "dana" });
  const lee = gitlab.createUser({ username: "lee" });
  const shop = gitlab.createProject({ path: "acme/shop", members: { dana: "developer", lee: "maintainer" } });
  gitlab.protectBranch(shop, "main");
  gitlab.pushCommit(shop, "feature/x");
  const change = gitlab.openMergeRequest(shop, { sourceBranch: "feature/x", author: dana, iid: 77 });
  gitlab.approve(change, lee);
  // What a message on NATS may start a pipeline in.
  const deploy = gitlab.createProject({ path: "acme/deploy", members: { lee: "maintainer" } });
  const triggerToken = gitlab.createTriggerToken(deploy, { owner: lee, jobs: [{ name: "deploy", id: 9001 }] });
  const signingToken = `whsec_${randomBytes(32).toString("base64")}`;
  gitlab.addHook({ url: `${brokerUrl}/hooks/gitlab/shop`, project: shop, signingToken });
  const part: CiPart = {
    issuer: {
      name: "gitlab",
      type: "gitlab",
      url: gitlab.issuer,
      ca_file: "ca.pem",
      api: { token_file: "gitlab-api.token" },
      start: { projects: { "acme/deploy": { token_file: "gitlab-trigger.token" } } },
      webhooks: [{ name: "shop", projects: [String(shop.id)], signing_token_file: "gitlab-hook.token" }],
    },
    files: {
      "gitlab-api.token": gitlab.createAccessToken({ user: lee }),
      "gitlab-hook.token": signingToken,
      "gitlab-trigger.token": triggerToken,
    },
  };
  return { gitlab, dana, lee, shop, deploy, change, part };
}

/** A merge request's job, from its token to its end. */
export function tellGitlab({ tell, directory, nginx }: StoryOptions): Promise<Running> {
  return tellInWorld({
    directory,
    startCi: startGitlabCi,
    closeCi: ({ gitlab }) => gitlab.close(),
    steps: (world, ci) => tellSteps(tell, world, ci, nginx),
  });
}

async function tellSteps(
  tell: StoryOptions["tell"],
  world: DemoWorld,
  { gitlab, shop, lee, change, dana }: Awaited<ReturnType<typeof startGitlabCi>>,
  nginx: string,
): Promise<void> {
  tell.title(`Wayleave demo   nginx ${nginx} · sqlite · demo/policy.yaml (2 targets, 3 roles, 6 tests passed)`);
  const { client } = world;
  const pipeline = gitlab.startPipeline(shop, {
    source: "merge_request_event",
    mergeRequest: change,
    user: dana,
    jobs: [{ name: "release", id: 7712 }],
  });
  const [job] = pipeline.jobs;
  if (job === undefined) throw new TypeError("the pipeline has a job");
  gitlab.runJob(job);
  await gitlab.flush();
  const token = await gitlab.idToken(job, { aud: world.config.issuer });
  tell.step({ who: "job", what: "acme/shop release #7712 on feature/x (!77) holds its GitLab id token" });

  const opened = expectExchange(await client.exchange(token));
  tell.step({ who: "job", what: `token exchanged: session ${opened.session}`, record: opened.record });

  const edge = world.edgeUrl("billing.localhost");
  const read = { method: "GET", url: `${edge}/v1/invoices/42`, token: opened.token };
  await tellCall(
    { tell, world },
    { ...read, expect: 200 },
    (result) => `through nginx, ${result.tookMs.toFixed(1)} ms`,
  );

  const release = { method: "POST", url: `${edge}/v1/releases`, token: opened.token };
  const refused = await tellCall({ tell, world }, { ...release, expect: 403 }, () => "change.merged is false");

  gitlab.mergeMergeRequest(change, { user: lee });
  await gitlab.flush();
  const merged = await newestRecord(world, "kind=webhook.accepted");
  tell.step({ who: "person", what: "merges !77", record: merged?.id });

  await tellCall({ tell, world }, { ...release, expect: 201 }, () => "same session, role release");

  await endOfJob(tell, world, gitlab, job, read);

  const theft = await client.exchange(token);
  expectStatus("the replayed token", theft.status, 400, theft.body);
  const refusedTheft = await newestRecord(world, "kind=exchange.refused");
  tell.step({
    who: "thief",
    what: "replays the job's GitLab token",
    status: theft.status,
    note: firstUse(String(theft.body.error_description)),
    record: refusedTheft?.id,
  });

  tell.line();
  tell.line("Try it yourself:");
  const config = "--config .wayleave-demo/wayleave.yaml";
  tell.line(`  bin/wayleave audit list ${config} --session ${opened.session}`);
  tell.line(`  bin/wayleave explain ${config} ${refused.record ?? ""}`);
  tell.line(`  curl -k ${edge}/v1/invoices/42 --resolve ${new URL(edge).host}:127.0.0.1`);
}

async function endOfJob(
  tell: StoryOptions["tell"],
  world: DemoWorld,
  gitlab: Gitlab,
  job: Parameters<Gitlab["succeedJob"]>[0],
  read: { method: string; url: string; token: string },
): Promise<void> {
  gitlab.succeedJob(job);
  const endedAt = performance.now();
  await gitlab.flush();
  const ended = await newestRecord(world, "kind=session.ended");
  tell.step({ who: "gitlab", what: "job #7712 succeeded", record: ended?.id });
  await tellCall(
    { tell, world },
    { ...read, expect: 401 },
    () => `session ended ${ago(performance.now() - endedAt)} ago`,
  );
}

/** `first used at 09:30:12` of a refusal. */
function firstUse(description: string): string {
  const time = /first used \S+T(\d\d:\d\d:\d\d)/.exec(description)?.[1];
  if (time === undefined) throw new Error(`the refusal does not say when: ${description}`);
  return `first used at ${time}`;
}
