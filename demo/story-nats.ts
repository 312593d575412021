import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type ConnectionOptions, connect, credsAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import { natsServerVersion } from "./nats-server.ts";
import { type NatsWorld, startNatsWorld } from "./nats-world.ts";
import { startGitlabCi } from "./story-gitlab.ts";
import { ago, type Running, type StoryOptions } from "./story-step.ts";
import { startWayleave } from "./wayleave-process.ts";

type Ci = Awaited<ReturnType<typeof startNatsCi>>;
type Tell = StoryOptions["tell"];
type Job = Awaited<ReturnType<typeof startJob>>;

/** Two jobs of two projects on one nats-server: what each may do there, who is told so, and how it ends with the job. */
export async function tellNats({ tell, directory }: Pick<StoryOptions, "tell" | "directory">): Promise<Running> {
  const started: (() => Promise<void>)[] = [];
  const close = async () => {
    for (const stop of started.splice(0).toReversed()) await stop();
  };
  try {
    const cis: Ci[] = [];
    const world = await startNatsWorld({
      directory,
      process: true,
      ci: async (brokerUrl, ca) => {
        const ci = await startNatsCi(brokerUrl, ca);
        cis.push(ci);
        started.push(() => ci.gitlab.close());
        return ci.part;
      },
    });
    started.push(world.close);
    for (const ci of cis) await tellSteps(tell, world, ci, (stop) => started.push(stop));
    return { close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The demo's GitLab with two projects more: one that works on what the shop builds, one that deploys it. */
async function startNatsCi(...given: Parameters<typeof startGitlabCi>) {
  const ci = await startGitlabCi(...given);
  const worker = ci.gitlab.createProject({ path: "acme/worker", members: { dana: "developer" } });
  return { ...ci, worker };
}

interface Stage {
  readonly tell: Tell;
  readonly world: NatsWorld;
  readonly ci: Ci;
  /** The two jobs' connections. */
  readonly build: NatsConnection;
  readonly work: NatsConnection;
}

/** One line: what somebody did, what came of it, and the newest record of a kind, which is about it. */
async function step(
  { tell, world }: Pick<Stage, "tell" | "world">,
  who: string,
  what: string,
  note = "",
  kind?: string,
): Promise<void> {
  const record = kind === undefined ? undefined : await newest(world, kind);
  tellRecord({ tell }, who, what, note, record);
}

function tellRecord({ tell }: Pick<Stage, "tell">, who: string, what: string, note: string, record?: string): void {
  tell.step({ who, what: what.padEnd(29), note, record });
}

async function tellSteps(tell: Tell, world: NatsWorld, ci: Ci, onStop: (stop: () => Promise<void>) => void) {
  const { gitlab } = ci;
  tell.title(`Wayleave demo   nats-server ${natsServerVersion()} (operator mode) · sqlite · demo/nats-policy.yaml`);
  await makeStream(world);
  // The shop's job presents its CI token itself; the worker's asks for a password. Both clients are unmodified nats.js.
  const job = await startJob(ci, { id: 7712, name: "build", mergeRequest: true });
  const token = await gitlab.idToken(job, { aud: world.config.issuer });
  const build = await connectJob(world, { token });
  onStop(() => build.close());
  await step(
    { tell, world },
    "build",
    "acme/shop #7712 connects",
    "with its CI token and nothing else",
    "nats.connected",
  );
  const work = await connectJob(world, await workerCredential(world, ci));
  onStop(() => work.close());
  await step({ tell, world }, "worker", "acme/worker #7801 connects", "with `wayleave nats env`", "nats.connected");
  const stage = { tell, world, ci, build, work };
  await tellMessages(stage);
  await tellStream(stage);
  await tellMerge(stage);
  await tellEnd(stage, job, token);
  await tellEvent(stage);
  await tellAudit(stage);
}

async function tellMessages(stage: Stage): Promise<void> {
  const { build, work, ci } = stage;
  const heard = Promise.withResolvers<string>();
  work.subscribe("build.status.>", {
    callback: (_, message) => heard.resolve(message.headers?.get("Wayleave-Job") ?? "nobody"),
  });
  work.subscribe("svc.version", { queue: "workers", callback: (_, message) => void message.respond("1.4.2") });
  await work.flush();
  await step(stage, "worker", "sub build.status.>", "and svc.version, in queue workers", "nats.subscribed");
  const subject = `build.status.${ci.shop.id}.started`;
  build.publish(subject);
  const [who = ""] = (await heard.promise).split(" ");
  await step(stage, "build", `pub ${subject}`, `the worker hears it, from ${who}`, "nats.published");

  const refused = firstError(build);
  build.publish("deploy.production");
  await build.flush();
  expectText(await refused, /no role of this job/);
  await step(stage, "build", "pub deploy.production", "denied: no role of this job allows it", "decision");

  const asked = performance.now();
  const answer = await build.request("svc.version", "", { timeout: 5_000 });
  const took = ago(performance.now() - asked);
  await step(stage, "build", "req svc.version", `the worker answers ${answer.string()}, ${took}`, "nats.published");
}

async function tellStream(stage: Stage): Promise<void> {
  const { build, work, ci } = stage;
  const subject = `build.status.${ci.shop.id}.done`;
  const stored = await jetstream(build).publish(subject);
  await step(stage, "build", `pub ${subject}`, `stream BUILDS stores it as number ${stored.seq}`, "nats.published");
  const consumer = await jetstream(work).consumers.get("BUILDS", "worker");
  const pulled = await consumer.next({ expires: 5_000 });
  await pulled?.ackAck();
  await step(stage, "worker", "pull BUILDS.worker", `${pulled?.subject}, acknowledged`, "nats.published");
}

async function tellMerge(stage: Stage): Promise<void> {
  const { build, ci } = stage;
  const { gitlab, change, lee, shop } = ci;
  const subject = `release.${shop.id}.1`;
  const early = firstError(build);
  build.publish(subject);
  await build.flush();
  expectText(await early, /change\.merged/);
  await step(stage, "build", `pub ${subject}`, "denied: change.merged is false", "decision");
  gitlab.mergeMergeRequest(change, { user: lee });
  await gitlab.flush();
  await step(stage, "person", "merges !77", "", "webhook.accepted");
  build.publish(subject);
  await build.flush();
  await step(stage, "build", `pub ${subject}`, "the same connection, role release", "nats.published");
}

async function tellEnd(stage: Stage, job: Job, token: string): Promise<void> {
  const { build, ci, world } = stage;
  const closed = build.closed().then(() => performance.now());
  ci.gitlab.succeedJob(job);
  const endedAt = performance.now();
  await ci.gitlab.flush();
  const took = ago((await closed) - endedAt);
  await step(stage, "gitlab", "job #7712 succeeded", `its connection is closed ${took} later`, "session.ended");
  const again = await connectJob(world, { token }).then(
    () => "let in",
    (error: Error) => error.message,
  );
  expectText(again, /session ended/);
  await step(stage, "thief", "connects with the job's token", "refused: session ended", "nats.refused");
}

/** A message starts a pipeline, and only one, although the broker dies while GitLab is making it. */
async function tellEvent(stage: Pick<Stage, "tell" | "world" | "ci">): Promise<void> {
  const { world, ci } = stage;
  const { gitlab, shop, deploy } = ci;
  const job = await startJob(ci, { id: 7713, name: "image", mergeRequest: true });
  const image = await connectJob(world, { token: await gitlab.idToken(job, { aud: world.config.issuer }) });
  const started = () => gitlab.pipelines().filter(({ project }) => project === deploy);
  const subject = `image.pushed.${shop.id}`;
  await jetstream(image).publish(subject, JSON.stringify({ image: "acme/shop", tag: "1.4.2" }));
  while (started().length === 0) await new Promise((resolve) => setImmediate(resolve));
  await world.killBroker();
  await step(stage, "image", `pub ${subject}`, "GitLab has the request; kill -9 the broker");
  await world.startBroker();
  const { data, id } = await world.until<{ pipeline_id: string; by: string }>("event.started");
  const how = data.by === "look_up" ? "found again by a look-up" : "recorded just before";
  tellRecord(stage, "broker", "starts again", `pipeline ${data.pipeline_id} ${how}: ${started().length} in all`, id);
  if (started().length !== 1) throw new Error("the story went wrong: a message started more than one pipeline");

  const [deployJob] = started()[0]?.jobs ?? [];
  if (deployJob === undefined) throw new Error("the story went wrong: the pipeline has no job");
  gitlab.runJob(deployJob);
  await gitlab.flush();
  await world.ready();
  const caused = await connectJob(world, { token: await gitlab.idToken(deployJob, { aud: world.config.issuer }) });
  caused.publish("deploy.done.shop");
  await caused.flush();
  await step(stage, "deploy", "pub deploy.done.shop", "as caused_by: deploy-image allows", "nats.published");
  await caused.close();
}

async function tellAudit({ tell, world }: Pick<Stage, "tell" | "world">): Promise<void> {
  for (const command of [
    ["audit", "list", "--job", "7712", "--nats"],
    ["verify", "7712"],
  ]) {
    tell.line();
    tell.line(`$ wayleave ${command.join(" ")}`);
    tell.line((await startWayleave([...command, "--config", world.configPath], world.directory).exited(0)).trimEnd());
  }
}

/** As an administrator of the account does: no job may make a stream. */
async function makeStream(world: NatsWorld): Promise<void> {
  const file = join(world.directory, "ci-admin.creds");
  const command = ["nats", "admin", "--account", "CI", "--out", file, "--config", world.configPath];
  await startWayleave(command, world.directory).exited(0);
  const admin = await connect({ servers: world.server.address, authenticator: credsAuthenticator(readFileSync(file)) });
  try {
    const manager = await jetstreamManager(admin);
    await manager.streams.add({ name: "BUILDS", subjects: ["build.status.*.done"] });
    await manager.streams.add({ name: "IMAGES", subjects: ["image.pushed.*"] });
    await manager.consumers.add("BUILDS", { durable_name: "worker", ack_policy: AckPolicy.Explicit });
  } finally {
    await admin.close();
  }
}

async function startJob(
  { gitlab, shop, worker, change, dana }: Ci,
  options: { readonly id: number; readonly name: string; readonly mergeRequest: boolean },
) {
  const { id, name, mergeRequest } = options;
  const jobs = [{ name, id }];
  const { jobs: started } = mergeRequest
    ? gitlab.startPipeline(shop, { source: "merge_request_event", mergeRequest: change, user: dana, jobs })
    : gitlab.startPipeline(worker, { source: "push", ref: "main", user: dana, jobs });
  const [job] = started;
  if (job === undefined) throw new TypeError("the pipeline has a job");
  gitlab.runJob(job);
  await gitlab.flush();
  return job;
}

/** As the worker's job gets it: from `wayleave nats env` in its script. */
async function workerCredential(world: NatsWorld, ci: Ci): Promise<{ readonly user: string; readonly pass: string }> {
  const job = await startJob(ci, { id: 7801, name: "work", mergeRequest: false });
  const token = await ci.gitlab.idToken(job, { aud: world.config.issuer });
  const output = await startWayleave(["nats", "env", "--format", "json"], world.directory, {
    WAYLEAVE_URL: world.brokerUrl,
    WAYLEAVE_ID_TOKEN: token,
    CI_SERVER_URL: ci.gitlab.issuer,
    CI_JOB_ID: "7801",
    XDG_RUNTIME_DIR: join(world.directory, "run"),
  }).exited(0);
  const { NATS_USER: user = "", NATS_PASSWORD: pass = "" } = JSON.parse(output.slice(output.indexOf("{"))) as Record<
    string,
    string
  >;
  return { user, pass };
}

/** An unmodified client, as a job's script has it. */
function connectJob(world: NatsWorld, credential: ConnectionOptions): Promise<NatsConnection> {
  return connect({ servers: world.natsUrl, ...credential, reconnect: false, timeout: 10_000 });
}

/** What the client is next told that went wrong. */
async function firstError(connection: NatsConnection): Promise<string> {
  for await (const status of connection.status()) if (status.type === "error") return status.error.message;
  return "nothing";
}

function expectText(text: string, wanted: RegExp): void {
  if (!wanted.test(text)) throw new Error(`the story went wrong: ${JSON.stringify(text)} instead of ${wanted}`);
}

/** Id of the newest record of a kind. */
async function newest({ operator }: NatsWorld, kind: string): Promise<string | undefined> {
  const { records } = await operator<{ records: { id: string }[] }>(`/v1/records?limit=1&kind=${kind}`);
  return records[0]?.id;
}
