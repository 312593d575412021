import { randomBytes } from "node:crypto";
import { branchOf, commit } from "./repository.ts";
import type {
  Job,
  JobEnvironment,
  JobStatus,
  MergeRequest,
  Pipeline,
  PipelineSource,
  PipelineVariable,
  Project,
  Runner,
  User,
  World,
} from "./types.ts";

export interface JobOptions {
  readonly name: string;
  readonly id?: number;
  readonly stage?: string;
  /** `environment:` of the job. The tier is guessed from the name, as GitLab does, unless said. */
  readonly environment?: string | { name: string; action?: JobEnvironment["action"]; tier?: string };
  /** Effective job timeout, which is also the id token's life. Default 3600. */
  readonly timeoutSeconds?: number;
  readonly allowFailure?: boolean;
  readonly runner?: Runner;
}

export interface PipelineOptions {
  /** Default `push`. */
  readonly source?: PipelineSource;
  /** Branch or tag; the default branch when absent. Not for merge request pipelines. */
  readonly ref?: string;
  /** The ref is a tag. */
  readonly tag?: boolean;
  /** Required with source `merge_request_event`. Its fork may run in either project: pass the one that runs it. */
  readonly mergeRequest?: MergeRequest;
  /** A merged-results pipeline: its sha is a merge commit made for it, which is no branch's head. */
  readonly mergedResults?: boolean;
  /** The job that starts this one (`parent_pipeline` or `pipeline`). */
  readonly parent?: Job;
  readonly variables?: readonly PipelineVariable[];
  readonly user: User;
  readonly id?: number;
  readonly jobs: readonly (string | JobOptions)[];
}

/** What runs a job when nobody says otherwise: a self-hosted runner of the instance. */
export const defaultRunner: Runner = {
  id: 12,
  description: "runner-1.acme.example",
  type: "instance_type",
  hosted: false,
  tags: ["linux", "docker"],
};

const noCommit = "0".repeat(40);
const terminal: readonly JobStatus[] = ["success", "failed", "canceled", "skipped"];
const transitions: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  created: ["pending", "canceled", "skipped"],
  pending: ["running", "canceled", "failed"],
  running: ["success", "failed", "canceling", "canceled"],
  canceling: ["canceled", "failed"],
  success: [],
  failed: [],
  canceled: [],
  skipped: [],
};

/** Starts a pipeline whose jobs are `created`, and sends the hooks that say so. `project` is where it runs. */
export function startPipeline(world: World, project: Project, options: PipelineOptions): Pipeline {
  const source = options.source ?? "push";
  if ((source === "merge_request_event") !== (options.mergeRequest !== undefined))
    throw new TypeError("merge_request_event and mergeRequest go together");
  const pipeline: Pipeline = {
    id: options.id ?? world.nextId("pipeline"),
    iid: [...world.pipelines.values()].filter((other) => other.project === project).length + 1,
    project,
    source,
    ...(options.mergeRequest
      ? mergeRequestRef(world, project, options.mergeRequest, options)
      : plainRef(project, options.ref ?? project.defaultBranch, options.tag ?? false)),
    ...(options.mergeRequest ? { mergeRequest: options.mergeRequest } : {}),
    ...(options.parent ? { parent: options.parent } : {}),
    variables: options.variables ?? [],
    user: options.user,
    createdAt: world.now(),
    jobs: [],
    status: "created",
    startedAt: undefined,
    finishedAt: undefined,
  };
  if (world.pipelines.has(pipeline.id)) throw new TypeError(`pipeline ${pipeline.id} exists already`);
  world.pipelines.set(pipeline.id, pipeline);
  if (options.mergeRequest) options.mergeRequest.headPipelineId = pipeline.id;
  for (const job of options.jobs) addJob(world, pipeline, typeof job === "string" ? { name: job } : job, options.user);
  world.emit({ kind: "pipeline", pipeline });
  for (const job of pipeline.jobs) world.emit({ kind: "job", job });
  return pipeline;
}

/** Hands a job to its runner: `created` → `pending` → `running`, one hook for each step. */
export function runJob(world: World, job: Job): void {
  if (job.status === "created") move(world, job, "pending");
  move(world, job, "running");
}

/** Ends a running job with `success`. */
export function succeedJob(world: World, job: Job): void {
  move(world, job, "success");
}

/** Ends a pending, running or canceling job with `failed`; the reason is one of GitLab's words. */
export function failJob(world: World, job: Job, reason = "script_failure"): void {
  move(world, job, "failed", reason);
}

/** Asks for the end: a running job becomes `canceling` while its `after_script` runs (before 17.0 straight
 *  `canceled`), a waiting one `canceled` at once. */
export function cancelJob(world: World, job: Job): void {
  const afterScriptRuns = job.status === "running" && world.version !== "16.11";
  move(world, job, afterScriptRuns ? "canceling" : "canceled");
}

/** The `after_script` of a canceling job is over: `canceled`. */
export function finishCancel(world: World, job: Job): void {
  if (job.status !== "canceling") throw new TypeError(`job ${job.id} is ${job.status}, not canceling`);
  move(world, job, "canceled");
}

/** A finished job again: a new job id in the same pipeline, one retry more, `created` and then `pending`. */
export function retryJob(world: World, job: Job, user: User = job.user): Job {
  if (!isOver(job) || job.retried) throw new TypeError(`job ${job.id} cannot be retried`);
  job.retried = true;
  const { name, stage, timeoutSeconds, allowFailure, runner } = job;
  const again = addJob(
    world,
    job.pipeline,
    { name, stage, timeoutSeconds, allowFailure, runner, ...(job.environment ? { environment: job.environment } : {}) },
    user,
    job.retriesCount + 1,
  );
  world.emit({ kind: "job", job: again });
  move(world, again, "pending");
  return again;
}

/** Whether nothing more can happen to the job. `canceling` is not over: its token still works. */
export function isOver(job: Job): boolean {
  return terminal.includes(job.status);
}

function move(world: World, job: Job, to: JobStatus, failureReason?: string): void {
  if (!transitions[job.status].includes(to)) throw new TypeError(`job ${job.id} cannot go from ${job.status} to ${to}`);
  job.status = to;
  job.failureReason = failureReason;
  if (to === "pending") job.queuedAt = world.now();
  if (to === "running") job.startedAt = world.now();
  if (isOver(job)) job.finishedAt = world.now();
  world.emit({ kind: "job", job });
  const { pipeline } = job;
  const status = pipelineStatus(pipeline);
  if (status === pipeline.status) return;
  pipeline.status = status;
  if (status === "running") pipeline.startedAt ??= world.now();
  pipeline.finishedAt = terminal.includes(status) ? world.now() : undefined;
  world.emit({ kind: "pipeline", pipeline });
}

function pipelineStatus(pipeline: Pipeline): JobStatus {
  const jobs = pipeline.jobs.filter((job) => !job.retried);
  const some = (status: JobStatus) => jobs.some((job) => job.status === status);
  if (jobs.every(isOver)) {
    if (jobs.some((job) => job.status === "failed" && !job.allowFailure)) return "failed";
    return some("canceled") ? "canceled" : "success";
  }
  if (some("canceling")) return "canceling";
  if (some("running") || jobs.some(isOver)) return "running";
  return some("pending") ? "pending" : "created";
}

function addJob(world: World, pipeline: Pipeline, options: JobOptions, user: User, retriesCount = 0): Job {
  const environment = environmentOf(world, pipeline.project, options.environment);
  const job: Job = {
    id: options.id ?? world.nextId("job"),
    name: options.name,
    stage: options.stage ?? "test",
    pipeline,
    user,
    runner: options.runner ?? defaultRunner,
    ...(environment ? { environment } : {}),
    timeoutSeconds: options.timeoutSeconds ?? 3600,
    allowFailure: options.allowFailure ?? false,
    retriesCount,
    createdAt: world.now(),
    token: `glcbt-64_${randomBytes(15).toString("base64url")}`,
    status: "created",
    retried: false,
    queuedAt: undefined,
    startedAt: undefined,
    finishedAt: undefined,
    failureReason: undefined,
    trace: "",
  };
  if (world.jobs.has(job.id)) throw new TypeError(`job ${job.id} exists already`);
  world.jobs.set(job.id, job);
  pipeline.jobs.push(job);
  return job;
}

function environmentOf(world: World, project: Project, wanted: JobOptions["environment"]): JobEnvironment | undefined {
  if (wanted === undefined) return undefined;
  const options = typeof wanted === "string" ? { name: wanted } : wanted;
  const existing = project.environments.get(options.name);
  const tier = options.tier ?? existing?.tier ?? guessTier(options.name);
  if (!existing) {
    const id = world.nextId("environment");
    project.environments.set(options.name, { id, name: options.name, tier, createdAt: world.now() });
  }
  return { name: options.name, action: options.action ?? "start", tier };
}

function guessTier(name: string): string {
  if (/dev|review/i.test(name)) return "development";
  if (/test|qa/i.test(name)) return "testing";
  if (/stag|pre|demo/i.test(name)) return "staging";
  return /prod|live/i.test(name) ? "production" : "other";
}

function plainRef(project: Project, ref: string, tag: boolean) {
  const found = tag ? project.tags.get(ref) : branchOf(project, ref);
  if (!found) throw new TypeError(`${project.path} has no tag ${ref}`);
  const beforeSha = tag ? noCommit : (project.commits.get(found.sha)?.parents[0] ?? noCommit);
  return { ref, sourceRef: ref, tag, sha: found.sha, beforeSha, refProtected: found.protected };
}

function mergeRequestRef(world: World, project: Project, mergeRequest: MergeRequest, options: PipelineOptions) {
  const { sourceProject, targetProject, sourceBranch, targetBranch, iid } = mergeRequest;
  if (project !== sourceProject && project !== targetProject)
    throw new TypeError(`!${iid} belongs to neither side of ${project.path}`);
  const head = branchOf(sourceProject, sourceBranch);
  const target = branchOf(targetProject, targetBranch);
  const merged = options.mergedResults === true;
  const sha = merged
    ? commit(world, project, `Merge ${head.sha} into ${target.sha}`, [target.sha, head.sha], options.user).sha
    : head.sha;
  return {
    ref: `refs/merge-requests/${iid}/${merged ? "merge" : "head"}`,
    sourceRef: sourceBranch,
    tag: false,
    sha,
    beforeSha: noCommit,
    // A fork's branch is never protected where it runs; otherwise both sides must be.
    refProtected: sourceProject === targetProject && head.protected && target.protected,
  };
}
