import { createHash, randomBytes } from "node:crypto";
import type { Agent, Build, BuildSource, Job, JobState, Pipeline, PullRequest, World } from "./types.ts";
import { uuidV7 } from "./uuid-v7.ts";

export interface PipelineOptions {
  readonly slug: string;
  readonly repository?: string;
  /** Branches it builds; any when absent. */
  readonly branches?: readonly string[];
  /** Steps of a build that is created by the API. Default: one, `deploy`. */
  readonly steps?: readonly string[];
  /** Name of the cluster and key of the queue; a pipeline without them is unclustered. */
  readonly cluster?: string;
  readonly queue?: string;
}

export interface StepOptions {
  readonly name: string;
  readonly key?: string;
  readonly agent?: Agent;
}

export interface BuildOptions {
  /** Default `main`. */
  readonly branch?: string;
  readonly tag?: string;
  readonly commit?: string;
  readonly message?: string;
  /** Default `webhook`. */
  readonly source?: BuildSource;
  readonly creator?: { readonly name: string; readonly email: string };
  readonly pullRequest?: PullRequest;
  readonly env?: Readonly<Record<string, string>>;
  readonly metaData?: Readonly<Record<string, string>>;
  /** A string is a step's name and its key. */
  readonly steps: readonly (string | StepOptions)[];
}

/** A pipeline of the organization. Slugs are unique. */
export function createPipeline(world: World, options: PipelineOptions): Pipeline {
  const { slug, cluster, queue } = options;
  if (world.pipelines.has(slug)) throw new TypeError(`pipeline ${slug} exists already`);
  const pipeline: Pipeline = {
    id: uuidV7(world.now()),
    slug,
    repository: options.repository ?? `git@git.acme.example:acme/${slug}.git`,
    organization: world.organization,
    ...(options.branches === undefined ? {} : { branches: options.branches }),
    steps: options.steps ?? ["deploy"],
    ...(cluster === undefined ? {} : { cluster: { id: uuidV7(world.now()), name: cluster } }),
    ...(queue === undefined ? {} : { queue: { id: uuidV7(world.now()), key: queue } }),
  };
  world.pipelines.set(slug, pipeline);
  return pipeline;
}

/** A build whose jobs are `scheduled`. Numbers count per pipeline. */
export function startBuild(world: World, pipeline: Pipeline, options: BuildOptions): Build {
  const number = world.builds.filter((build) => build.pipeline === pipeline).length + 1;
  const creator = options.creator ?? { name: "Alice", email: "alice@acme.example" };
  const build: Build = {
    id: uuidV7(world.now()),
    number,
    pipeline,
    branch: options.branch ?? "main",
    tag: options.tag ?? null,
    commit: options.commit ?? createHash("sha1").update(`${pipeline.slug} ${number}`).digest("hex"),
    message: options.message ?? "Change",
    source: options.source ?? "webhook",
    creator: { id: uuidV7(world.now()), ...creator },
    pullRequest: options.pullRequest ?? null,
    createdAt: world.now(),
    env: options.env ?? {},
    metaData: new Map(Object.entries(options.metaData ?? {})),
    jobs: [],
    state: "scheduled",
    startedAt: undefined,
    finishedAt: undefined,
  };
  world.builds.push(build);
  for (const step of options.steps) addJob(world, build, typeof step === "string" ? { name: step, key: step } : step);
  return build;
}

/** An agent accepts the job: `running`, and `job.started`. */
export function startJob(world: World, job: Job): void {
  requireState(job, "scheduled");
  job.state = "running";
  job.startedAt = world.now();
  job.build.state = "running";
  job.build.startedAt ??= world.now();
  world.emit({ name: "job.started", job, build: job.build });
}

/** The command ended: `passed` for exit status 0, else `failed`. */
export function finishJob(world: World, job: Job, exitStatus = 0): void {
  requireState(job, "running");
  end(world, job, exitStatus === 0 ? "passed" : "failed", exitStatus);
}

/** Asks a running job to stop: `canceling` while its hooks run. One that never ran is `canceled` at once. */
export function cancelJob(world: World, job: Job): void {
  requireState(job, "running", "scheduled");
  if (job.state === "scheduled") end(world, job, "canceled", null);
  else job.state = "canceling";
}

/** The canceled job's process is gone: `canceled`, and `job.finished`. */
export function finishCancel(world: World, job: Job): void {
  requireState(job, "canceling");
  end(world, job, "canceled", -1);
}

/** A finished job again, under a new id. The build is running until that one is over. */
export function retryJob(world: World, job: Job): Job {
  if (!isOver(job) || job.retriedIn) throw new TypeError(`job ${job.id} cannot be retried`);
  const options = { name: job.name, agent: job.agent, ...(job.stepKey === null ? {} : { key: job.stepKey }) };
  const again = addJob(world, job.build, options, job.retriesCount + 1);
  job.retriedIn = again.id;
  job.build.state = "running";
  job.build.finishedAt = undefined;
  return again;
}

/** Whether the job's process can no longer run, so that its access token is dead. */
export function isOver(job: Job): boolean {
  return job.finishedAt !== undefined;
}

/** Of the organization, self-hosted, with one self-declared tag. */
export const defaultAgent: Agent = {
  id: "0190e6c7-5a7e-7b3c-8c7e-1c5d0a9b2f10",
  name: "agent-1",
  hosted: false,
  tags: { queue: "default" },
};

function end(world: World, job: Job, state: JobState, exitStatus: number | null): void {
  const { build } = job;
  job.state = state;
  job.exitStatus = exitStatus;
  job.finishedAt = world.now();
  const live = build.jobs.filter((candidate) => candidate.retriedIn === undefined);
  const over = live.every(isOver);
  if (over) {
    build.state = live.some((entry) => entry.state === "canceled")
      ? "canceled"
      : live.every((entry) => entry.state === "passed")
        ? "passed"
        : "failed";
    build.finishedAt = world.now();
  }
  world.emit({ name: "job.finished", job, build });
  if (over) world.emit({ name: "build.finished", build });
}

function addJob(world: World, build: Build, step: StepOptions, retriesCount = 0): Job {
  const job: Job = {
    id: uuidV7(world.now()),
    name: step.name,
    stepKey: step.key ?? null,
    build,
    agent: step.agent ?? defaultAgent,
    createdAt: world.now(),
    retriesCount,
    accessToken: `bkaj_${randomBytes(20).toString("hex")}`,
    state: "scheduled",
    exitStatus: null,
    startedAt: undefined,
    finishedAt: undefined,
    retriedIn: undefined,
  };
  world.jobs.set(job.id, job);
  build.jobs.push(job);
  return job;
}

function requireState(job: Job, ...states: readonly JobState[]): void {
  if (!states.includes(job.state)) throw new TypeError(`job ${job.id} is ${job.state}`);
}
