import { envoyVersion } from "./envoy.ts";
import { startGitlabCi } from "./story-gitlab.ts";
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
import { startWayleave } from "./wayleave-process.ts";
import type { DemoWorld } from "./world.ts";

type Ci = Awaited<ReturnType<typeof startGitlabCi>>;

/** A merge request's job through two gateways: NGINX at the edge, an Envoy sidecar behind it, mutual TLS between them. */
export function tellMesh({ tell, directory, nginx }: StoryOptions): Promise<Running> {
  return tellInWorld({
    directory,
    world: { mesh: {} },
    startCi: startGitlabCi,
    closeCi: ({ gitlab }) => gitlab.close(),
    steps: (world, ci) => tellSteps(tell, world, ci, nginx),
  });
}

async function tellSteps(tell: StoryOptions["tell"], world: DemoWorld, ci: Ci, nginx: string): Promise<void> {
  const { client } = world;
  const { gitlab, lee, change } = ci;
  tell.title(`Wayleave demo   nginx ${nginx} → mTLS → envoy ${envoyVersion()} → billing · sqlite · demo/policy.yaml`);
  const job = await startJob(ci);
  const token = await gitlab.idToken(job, { aud: world.config.issuer });
  const opened = expectExchange(await client.exchange(token));
  gitlab.appendTrace(job, `wayleave: session ${opened.session} opened\n`);
  tell.step({ who: "job", what: `acme/shop release #7712: session ${opened.session}`, record: opened.record });

  const edge = world.edgeUrl("billing.localhost");
  const read = { method: "GET", url: `${edge}/v1/invoices/42`, token: opened.token };
  await tellCall({ tell, world }, { ...read, expect: 200 }, ({ tookMs }) => `nginx → envoy, ${tookMs.toFixed(1)} ms`);
  const release = { method: "POST", url: `${edge}/v1/releases`, token: opened.token };
  await tellCall({ tell, world }, { ...release, expect: 403 }, () => "nginx: change.merged is false");
  const assertion = String(world.upstream.served.at(-1)?.headers["txn-token"]);
  await tellThief(tell, world, {
    assertion,
    method: "POST",
    path: "/v1/releases",
    what: "from the edge, signed for a read",
    expect: 401,
    note: () => "envoy: signed for another request",
  });

  gitlab.mergeMergeRequest(change, { user: lee });
  await gitlab.flush();
  const merged = await newestRecord(world, "kind=webhook.accepted");
  tell.step({ who: "person", what: "merges !77", record: merged?.id });
  await tellCall({ tell, world }, { ...release, expect: 201 }, () => "same session, role release");

  gitlab.succeedJob(job);
  const endedAt = performance.now();
  await gitlab.flush();
  const ended = await newestRecord(world, "kind=session.ended");
  tell.step({ who: "gitlab", what: "job #7712 succeeded", record: ended?.id });
  const gone = () => `session ended ${ago(performance.now() - endedAt)} ago`;
  await tellCall({ tell, world }, { ...read, expect: 401 }, () => `nginx: ${gone()}`);
  await tellThief(tell, world, {
    assertion,
    method: "GET",
    path: "/v1/invoices/42",
    what: "again, from the edge itself",
    expect: 403,
    note: () => `envoy by itself: ${gone()}`,
  });

  tell.line();
  tell.line("$ wayleave verify 7712");
  tell.line(
    (await startWayleave(["verify", "7712", "--config", world.configPath], world.directory).exited(0)).trimEnd(),
  );
}

async function startJob({ gitlab, shop, change, dana }: Ci) {
  const [job] = gitlab.startPipeline(shop, {
    source: "merge_request_event",
    mergeRequest: change,
    user: dana,
    jobs: [{ name: "release", id: 7712 }],
  }).jobs;
  if (job === undefined) throw new TypeError("the pipeline has a job");
  gitlab.runJob(job);
  await gitlab.flush();
  return job;
}

/** Somebody with the edge's certificate and an assertion the upstream has seen. */
async function tellThief(
  tell: StoryOptions["tell"],
  world: DemoWorld,
  attempt: {
    readonly assertion: string;
    readonly method: string;
    readonly path: string;
    readonly what: string;
    readonly expect: number;
    readonly note: () => string;
  },
): Promise<void> {
  const { assertion, method, path, what, expect, note } = attempt;
  const served = world.upstream.served.length;
  const answer = await world.mesh?.fromEdge(method, path, assertion);
  expectStatus("the thief", answer?.status ?? 0, expect, answer?.body);
  if (world.upstream.served.length !== served) throw new Error("the story went wrong: the thief reached the upstream");
  tell.step({ who: "thief", what: `${method.padEnd(4)} ${what}`, status: expect, note: note() });
}
