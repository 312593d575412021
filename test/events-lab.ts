import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { connect, credsAuthenticator, type Msg, type NatsConnection } from "@nats-io/transport-node";
import { request } from "undici";
import { type Gitlab, startGitlab } from "../demo/gitlab/gitlab.ts";
import type { PipelineOptions } from "../demo/gitlab/pipelines.ts";
import type { Job, Pipeline, Project, User } from "../demo/gitlab/types.ts";
import { type NatsWorld, startNatsWorld } from "../demo/nats-world.ts";
import type { CiPart, WorldOptions } from "../demo/world.ts";
import type { EventSummary, EventsResponse } from "../src/api/events.ts";
import { type Done, type JobEnv, wayleave } from "./job-process.ts";
import { followRecords, type RecordStream } from "./record-stream.ts";

const paths = ["acme/shop", "acme/deploy", "acme/notify", "acme/legacy"] as const;

/** A running GitLab job. Its token opens one session: by `exchange`, by `connect`, or by the CLI in `env`. */
export interface EventJob {
  readonly job: Job;
  readonly token: string;
  /** What its runner gives its script. */
  readonly env: JobEnv;
  /** Its session's id. */
  session(): Promise<string>;
  /** POST /v1/events: status, and the body of the answer. */
  emit(body: object): Promise<{ readonly status: number; readonly body: Readonly<Record<string, unknown>> }>;
  /** An unmodified client at the gateway, with the CI token. */
  connect(): Promise<NatsConnection>;
}

/** GitLab, broker and a real nats-server whose administrator hears everything in account CI. */
export interface EventsLab {
  readonly world: NatsWorld;
  readonly gitlab: Gitlab;
  readonly people: { readonly dana: User; readonly lee: User };
  readonly project: Readonly<Record<(typeof paths)[number], Project>>;
  readonly records: RecordStream;
  /** Past the gateway, with what `wayleave nats admin` wrote. */
  readonly admin: NatsConnection;
  readonly streams: JetStreamManager["streams"];
  readonly consumers: JetStreamManager["consumers"];
  startJob(project: Project, pipeline?: Partial<PipelineOptions>): Promise<EventJob>;
  /** Hands a job of a started pipeline to its runner. */
  runJob(job: Job | undefined): Promise<EventJob>;
  /** The message on this subject, come already or to come. */
  heard(subject: string): Promise<Msg>;
  /** Pipelines that a trigger started in the project. */
  triggered(project: Project): readonly Pipeline[];
  /** What the operator's socket lists. */
  events(): Promise<EventsResponse>;
  /** The listed message, once there is one that fits. */
  listed(fits: (event: EventSummary) => boolean): Promise<EventSummary>;
  /** `wayleave …` of the operator. */
  operator(...args: readonly string[]): Promise<Done>;
  /** Writes the policy's file, which the broker watches. */
  writePolicy(text: string): void;
  close(): Promise<void>;
}

/** Everything real but the CI. Whoever starts it closes it. */
export async function startEventsLab(policy: string): Promise<EventsLab> {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-events-stack-"));
  writeFileSync(join(directory, "policy.yaml"), policy);
  const closing: (() => unknown)[] = [() => rmSync(directory, { recursive: true, force: true })];
  const close = async () => {
    for (const stop of closing.splice(0).toReversed()) await stop();
  };
  try {
    const started: Awaited<ReturnType<typeof startCi>>[] = [];
    const world = await startNatsWorld({
      directory: join(directory, "world"),
      policy: join(directory, "policy.yaml"),
      async ci(brokerUrl, ca) {
        const ci = await startCi(brokerUrl, ca);
        started.push(ci);
        closing.push(ci.gitlab.close);
        return ci.part;
      },
    });
    closing.push(world.close);
    const { broker } = world;
    const [ci] = started;
    if (broker === undefined || ci === undefined)
      throw new TypeError("the world has a CI, and a broker in this process");
    const records = await followRecords({ broker });
    closing.push(records.close);
    const operator: EventsLab["operator"] = (...args) =>
      wayleave(machine(directory), ...args, "--config", world.configPath);
    const admin = await connectAdmin(world, operator);
    closing.push(() => admin.close());
    return {
      ...ci,
      world,
      records,
      admin,
      operator,
      close,
      ...(await watching(world, ci, admin)),
      ...jobs(directory, world, ci),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startCi(brokerUrl: string, ca: Parameters<WorldOptions["ci"]>[1]) {
  const gitlab = await startGitlab({ now: Date.now, root: "/gitlab", tls: ca.issue(["localhost", "127.0.0.1"]) });
  const people = { dana: gitlab.createUser({ username: "dana" }), lee: gitlab.createUser({ username: "lee" }) };
  const signingToken = `whsec_${randomBytes(32).toString("base64")}`;
  const made = paths.map((path) => {
    const project = gitlab.createProject({ path, members: { dana: "developer", lee: "maintainer" } });
    const hook = path === "acme/legacy" ? "statuses" : "ends";
    gitlab.addHook({ url: `${brokerUrl}/hooks/gitlab/${hook}`, project, signingToken });
    return [path, project] as const;
  });
  const project = Object.fromEntries(made) as EventsLab["project"];
  const started = ["acme/deploy", "acme/notify"] as const;
  const secret = { signing_token_file: "hook.token" };
  const idOf = (path: (typeof paths)[number]) => String(project[path].id);
  const part: CiPart = {
    issuer: {
      ...{ name: "gitlab", type: "gitlab", url: gitlab.issuer, ca_file: "ca.pem" },
      api: { token_file: "api.token" },
      start: { projects: Object.fromEntries(started.map((path, at) => [path, { token_file: `trigger-${at}.token` }])) },
      webhooks: [
        { name: "ends", projects: [idOf("acme/shop"), idOf("acme/deploy"), idOf("acme/notify")], ...secret },
        { name: "statuses", projects: [idOf("acme/legacy")], events: "events", ...secret },
      ],
    },
    files: {
      "api.token": gitlab.createAccessToken({ user: people.lee }),
      "hook.token": signingToken,
      ...Object.fromEntries(
        started.map((path, at) => [
          `trigger-${at}.token`,
          gitlab.createTriggerToken(project[path], { owner: people.lee }),
        ]),
      ),
    },
  };
  return { gitlab, people, project, part };
}

/** As a machine has it: nothing of the test's own environment but where programs are. */
function machine(directory: string): JobEnv {
  const home = mkdtempSync(join(directory, "machine-"));
  mkdirSync(join(home, "run"), { mode: 0o700 });
  mkdirSync(join(home, "project"));
  return {
    PATH: process.env.PATH ?? "",
    HOME: home,
    XDG_RUNTIME_DIR: join(home, "run"),
    CI_PROJECT_DIR: join(home, "project"),
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(directory, "compile-cache"),
  };
}

async function connectAdmin(world: NatsWorld, operator: EventsLab["operator"]): Promise<NatsConnection> {
  const out = join(world.directory, "admin.creds");
  const { status, err } = await operator("nats", "admin", "--account", "CI", "--out", out);
  if (status !== 0) throw new Error(`wayleave nats admin ended with ${status}: ${err}`);
  return connect({ servers: world.server.address, authenticator: credsAuthenticator(readFileSync(out)) });
}

/** How often and how long others are looked at, ms. */
const lookMs = 25;
const patienceMs = 30_000;

/** What `look` finds, once it finds something. Rejects with the name of what did not come. */
export async function eventually<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const until = performance.now() + patienceMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > until) throw new Error(`${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, lookMs));
  }
}

async function watching(world: NatsWorld, { gitlab }: Awaited<ReturnType<typeof startCi>>, admin: NatsConnection) {
  const messages: Msg[] = [];
  admin.subscribe(">", { callback: (error, message) => void (error === null && messages.push(message)) });
  await admin.flush();
  const { streams, consumers } = await jetstreamManager(admin);
  const events: EventsLab["events"] = () => world.operator("/v1/events");
  return {
    streams,
    consumers,
    events,
    heard: (subject: string) =>
      eventually(`a message on ${subject}`, () => messages.find((message) => message.subject === subject)),
    triggered: (project: Project) =>
      gitlab.pipelines().filter((each) => each.project === project && each.source === "trigger"),
    listed: (fits: (event: EventSummary) => boolean) =>
      eventually("a listed message that fits", async () => (await events()).events.find(fits)),
    writePolicy: (text: string) => writeFileSync(world.config.policyPath, text),
  };
}

function jobs(directory: string, world: NatsWorld, { gitlab, people }: Awaited<ReturnType<typeof startCi>>) {
  const runJob: EventsLab["runJob"] = async (job) => {
    if (job === undefined) throw new TypeError("the pipeline has a job");
    gitlab.runJob(job);
    await gitlab.flush();
    const token = await gitlab.idToken(job, { aud: world.config.issuer });
    let exchanged: Promise<Readonly<Record<string, unknown>>> | undefined;
    const exchange = () => {
      exchanged ??= world.client.exchange(token).then(({ status, body }) => {
        if (status !== 200) throw new Error(`the exchange answered ${status}: ${JSON.stringify(body)}`);
        return body;
      });
      return exchanged;
    };
    return {
      job,
      token,
      env: {
        ...machine(directory),
        SSL_CERT_FILE: join(world.directory, "ca.pem"),
        WAYLEAVE_URL: world.config.issuer,
        CI_SERVER_URL: gitlab.issuer,
        CI_JOB_ID: String(job.id),
        CI_JOB_NAME: job.name,
        WAYLEAVE_ID_TOKEN: token,
      },
      session: async () => String((await exchange()).session_id),
      async emit(asked) {
        const { refresh_token: refreshToken } = await exchange();
        const { statusCode, body } = await request(`${world.brokerUrl}/v1/events`, {
          method: "POST",
          headers: { authorization: `Bearer ${refreshToken}`, "content-type": "application/json" },
          body: JSON.stringify(asked),
        });
        return { status: statusCode, body: (await body.json()) as Readonly<Record<string, unknown>> };
      },
      connect: () => connect({ servers: world.natsUrl, token, reconnect: false, timeout: 20_000 }),
    };
  };
  const startJob: EventsLab["startJob"] = (project, pipeline = {}) =>
    runJob(gitlab.startPipeline(project, { user: people.dana, jobs: ["work"], ...pipeline }).jobs[0]);
  return { runJob, startJob };
}
