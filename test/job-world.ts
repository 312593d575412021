import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PipelineOptions } from "../demo/gitlab/pipelines.ts";
import type { Job, Project } from "../demo/gitlab/types.ts";
import { startGitlabCi } from "../demo/story-gitlab.ts";
import { type CiPart, type DemoWorld, startWorld, type WorldOptions } from "../demo/world.ts";
import type { JobEnv } from "./job-process.ts";
import { followRecords, type RecordStream } from "./record-stream.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

type GitlabCi = Awaited<ReturnType<typeof startGitlabCi>>;

/** A running GitLab job: its model, its identity token and the variables its runner sets. */
export interface GitlabJob {
  readonly job: Job;
  readonly token: string;
  readonly env: JobEnv;
}

/** GitLab, broker, real NGINX and upstream, with a network to the broker that can be broken. */
export interface JobWorld {
  readonly world: DemoWorld;
  readonly ci: GitlabCi;
  readonly proxy: TcpProxy;
  readonly records: RecordStream;
  /** The billing API at the edge. */
  readonly edge: string;
  /** Starts a merge request's job of acme/shop, or one of another pipeline, and waits until every hook of it arrived. */
  startJob(pipeline?: Partial<PipelineOptions> & { readonly project?: Project }): Promise<GitlabJob>;
  /** The variables of a job's runner, around a token. Each call is another machine: nothing is kept from the last. */
  env(job: Pick<Job, "id" | "name">, token: string): JobEnv;
  close(): Promise<void>;
}

export interface JobWorldOptions {
  readonly timings?: NonNullable<WorldOptions["timings"]>;
  /** Another policy, more gateways. */
  readonly world?: Pick<WorldOptions, "policy" | "gateways">;
  /** Changes the configuration of the CI. */
  readonly ci?: (ci: GitlabCi) => CiPart;
}

export async function startJobWorld(options: JobWorldOptions = {}): Promise<JobWorld> {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-jobs-"));
  const proxy = await startTcpProxy();
  let started: GitlabCi | undefined;
  const world = await startWorld({
    directory: join(directory, "world"),
    publicUrl: proxy.url,
    ...options.world,
    ...(options.timings === undefined ? {} : { timings: options.timings }),
    ci: async (brokerUrl, ca) => {
      started = await startGitlabCi(brokerUrl, ca);
      return options.ci?.(started) ?? started.part;
    },
  }).catch(async (error: unknown) => {
    await Promise.all([started?.gitlab.close(), proxy.close()]);
    rmSync(directory, { recursive: true, force: true });
    throw error;
  });
  proxy.leadTo(world.broker.url);
  const records = await followRecords(world);
  if (started === undefined) throw new TypeError("the world has a CI");
  const ci = started;
  const env: JobWorld["env"] = (job, token) => ({
    ...runnerEnv(directory, world, "CI_PROJECT_DIR"),
    CI_SERVER_URL: ci.gitlab.issuer,
    CI_JOB_ID: String(job.id),
    CI_JOB_NAME: job.name,
    WAYLEAVE_ID_TOKEN: token,
  });
  return {
    world,
    ci,
    proxy,
    records,
    edge: world.edgeUrl("billing.localhost").replace("billing.localhost", "127.0.0.1"),
    env,
    async startJob({ project = ci.shop, ...pipeline } = {}) {
      const { gitlab, change, dana } = ci;
      const changed = { source: "merge_request_event", mergeRequest: change } as const;
      const source = pipeline.source === undefined ? changed : {};
      const [job] = gitlab.startPipeline(project, { user: dana, jobs: ["release"], ...source, ...pipeline }).jobs;
      if (job === undefined) throw new TypeError("the pipeline has a job");
      gitlab.runJob(job);
      await gitlab.flush();
      const token = await gitlab.idToken(job, { aud: world.config.issuer });
      return { job, token, env: env(job, token) };
    },
    async close() {
      await records.close();
      await world.close();
      await Promise.all([ci.gitlab.close(), proxy.close()]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** What a runner gives every job, whichever CI: a machine's folders, one of them the checkout, and the private CA it trusts. */
export function runnerEnv(directory: string, world: DemoWorld, checkoutVariable: string): JobEnv {
  const machine = mkdtempSync(join(directory, "machine-"));
  const folder = (name: string) => {
    mkdirSync(join(machine, name), { mode: 0o700 });
    return join(machine, name);
  };
  return {
    PATH: process.env.PATH ?? "",
    HOME: folder("home"),
    XDG_RUNTIME_DIR: folder("run"),
    [checkoutVariable]: folder("project"),
    SSL_CERT_FILE: join(world.directory, "ca.pem"),
    WAYLEAVE_URL: world.config.issuer,
  };
}
