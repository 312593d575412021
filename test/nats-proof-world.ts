import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectionOptions, connect, type NatsConnection } from "@nats-io/transport-node";
import { request } from "undici";
import { parse, stringify } from "yaml";
import { freePort } from "../demo/free-port.ts";
import { type Gitlab, startGitlab } from "../demo/gitlab/gitlab.ts";
import type { PipelineOptions } from "../demo/gitlab/pipelines.ts";
import type { Job, Project, User } from "../demo/gitlab/types.ts";
import { type NatsWorld, type NatsWorldOptions, startNatsWorld } from "../demo/nats-world.ts";
import type { NatsResponse } from "../src/api/nats.ts";
import { loadConfig } from "../src/config/load.ts";
import { type Administrator, administer } from "./nats-proof-admin.ts";

/** A running GitLab job, and how it comes to NATS. */
export interface NatsJob {
  readonly job: Job;
  /** Its identity token, as the runner gave it. */
  readonly token: string;
  /** Id of the session that the token was exchanged for. */
  session(): Promise<string>;
  /** The answer of `wayleave nats env`, which stays the same, or a credentials file. */
  credential(form?: "password" | "creds"): Promise<NatsResponse>;
  /** POST of the session's own: `end`, `lease`, `release`, `nats`. Rejects what is refused. */
  ask(path: string, body?: object): Promise<unknown>;
  /** Through the gateway, with the password. It does not reconnect unless told to. */
  connect(more?: ConnectionOptions): Promise<NatsConnection>;
}

/** GitLab, broker with its gateway, and a real nats-server with an administrator. */
export interface NatsProof {
  readonly world: NatsWorld;
  readonly gitlab: Gitlab;
  readonly people: { readonly dana: User; readonly lee: User };
  readonly admin: Administrator;
  readonly projects: ReadonlyMap<string, Project>;
  /** Starts a job of the project and runs it. */
  startJob(path: string, pipeline?: Partial<PipelineOptions>): Promise<NatsJob>;
  close(): Promise<void>;
}

export interface NatsProofOptions {
  readonly policy: string;
  readonly projects: readonly string[];
  /** Where there are administrators. Default: CI. */
  readonly accounts?: readonly string[];
  readonly mode?: "operator" | "config";
  readonly gateway?: NatsWorldOptions["gateway"];
  readonly process?: boolean;
  readonly timings?: NatsWorldOptions["timings"];
  /** Another gateway of the same broker, before the same servers. */
  readonly second?: string;
  /** Files for the installation's folder. */
  readonly files?: (ca: Parameters<NatsWorldOptions["ci"]>[1]) => Readonly<Record<string, string>>;
}

/** Everything real but the CI. Whoever starts it closes it. */
export async function startProof(options: NatsProofOptions): Promise<NatsProof> {
  const { mode = "operator", accounts = ["CI"] } = options;
  const directory = mkdtempSync(join(tmpdir(), "wayleave-nats-proof-"));
  writeFileSync(join(directory, "policy.yaml"), options.policy);
  const cis: Awaited<ReturnType<typeof startCi>>[] = [];
  // A broker that is started again and again need not compile the same sources each time.
  const cache = process.env.NODE_COMPILE_CACHE;
  process.env.NODE_COMPILE_CACHE = cache ?? join(directory, "compile-cache");
  const remove = async () => {
    if (cache === undefined) delete process.env.NODE_COMPILE_CACHE;
    for (const { gitlab } of cis) await gitlab.close();
    rmSync(directory, { recursive: true, force: true });
  };
  let world: NatsWorld;
  try {
    world = await startNatsWorld({
      directory: join(directory, "world"),
      policy: join(directory, "policy.yaml"),
      ci: async (brokerUrl, ca) => {
        const started = await startCi(brokerUrl, ca, options.projects);
        cis.push(started);
        return { ...started.part, files: { ...started.part.files, ...options.files?.(ca) } };
      },
      gateway: { authentication: mode, ...options.gateway },
      process: options.process === true,
      ...(options.timings === undefined ? {} : { timings: options.timings }),
    });
  } catch (error) {
    await remove();
    throw error;
  }
  const [ci] = cis;
  if (ci === undefined) throw new TypeError("the world has a CI");
  const { gitlab, people, projects } = ci;
  const close = async () => {
    await world.close();
    await remove();
  };
  try {
    if (options.second !== undefined) await addGateway(world, options.second);
    return {
      ...{ world, gitlab, people, projects, close },
      admin: await administer(world, mode, accounts),
      startJob: (path, pipeline) => startJob({ world, gitlab, people, projects }, path, pipeline),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** As an operator does: written into the configuration, and the broker started again. */
async function addGateway(world: NatsWorld, name: string): Promise<void> {
  const file = parse(readFileSync(world.configPath, "utf8")) as { gateways: Readonly<Record<string, unknown>>[] };
  file.gateways.push({ ...file.gateways[0], name, listen: `127.0.0.1:${await freePort()}` });
  writeFileSync(world.configPath, stringify(file, { aliasDuplicateObjects: false }));
  const loaded = loadConfig({ path: world.configPath, env: {} });
  if (!("config" in loaded)) throw new TypeError(loaded.diagnostics.map(({ message }) => message).join("; "));
  await world.killBroker();
  Object.assign(world.config, loaded.config);
  await world.startBroker();
}

async function startCi(brokerUrl: string, ca: Parameters<NatsWorldOptions["ci"]>[1], paths: readonly string[]) {
  const gitlab = await startGitlab({ now: Date.now, root: "/gitlab", tls: ca.issue(["localhost", "127.0.0.1"]) });
  const people = { dana: gitlab.createUser({ username: "dana" }), lee: gitlab.createUser({ username: "lee" }) };
  const signingToken = `whsec_${randomBytes(32).toString("base64")}`;
  const projects = new Map<string, Project>();
  for (const path of paths) {
    const project = gitlab.createProject({ path, members: { dana: "developer", lee: "maintainer" } });
    gitlab.protectBranch(project, "main");
    gitlab.addHook({ url: `${brokerUrl}/hooks/gitlab/all`, project, signingToken });
    projects.set(path, project);
  }
  const part = {
    issuer: {
      ...{ name: "gitlab", type: "gitlab", url: gitlab.issuer, ca_file: "ca.pem" },
      api: { token_file: "gitlab-api.token" },
      webhooks: [
        {
          name: "all",
          projects: [...projects.values()].map(({ id }) => String(id)),
          signing_token_file: "gitlab-hook.token",
        },
      ],
    },
    files: { "gitlab-api.token": gitlab.createAccessToken(), "gitlab-hook.token": signingToken },
  };
  return { gitlab, people, projects, part };
}

async function startJob(
  { world, gitlab, people, projects }: Pick<NatsProof, "world" | "gitlab" | "people" | "projects">,
  path: string,
  pipeline: Partial<PipelineOptions> = {},
): Promise<NatsJob> {
  const project = projects.get(path);
  if (project === undefined) throw new TypeError(`there is no project ${path}`);
  const [job] = gitlab.startPipeline(project, { user: people.dana, jobs: ["work"], ...pipeline }).jobs;
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
  const ask: NatsJob["ask"] = async (path, asked) => {
    const { refresh_token: refreshToken } = await exchange();
    const { statusCode, body } = await request(`${world.brokerUrl}/v1/session/${path}`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${refreshToken}`,
        ...(asked === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(asked === undefined ? {} : { body: JSON.stringify(asked) }),
    });
    const text = await body.text();
    if (statusCode >= 300) throw new Error(`${path} answered ${statusCode}: ${text}`);
    return text === "" ? {} : JSON.parse(text);
  };
  let password: Promise<NatsResponse> | undefined;
  const credential: NatsJob["credential"] = async (form = "password") => {
    if (form === "creds") return (await ask("nats", { form, gateway: "bus" })) as NatsResponse;
    password ??= ask("nats", { form, gateway: "bus" }) as Promise<NatsResponse>;
    return password;
  };
  return {
    job,
    token,
    ask,
    session: async () => String((await exchange()).session_id),
    credential,
    async connect(more) {
      const { url, user, password: pass = "" } = await credential();
      const tls = url.startsWith("tls://") ? { tls: { caFile: join(world.directory, "ca.pem") } } : {};
      return connect({ servers: world.natsUrl, user, pass, reconnect: false, timeout: 20_000, ...tls, ...more });
    },
  };
}

/** Looks again after each turn of the event loop, or soon where others are asked; the test's own time limit ends it. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (;;) {
    const held = holds();
    if (typeof held === "boolean" ? held : await held) return;
    await new Promise((resolve) => (typeof held === "boolean" ? setImmediate(resolve) : setTimeout(resolve, 5)));
  }
}
