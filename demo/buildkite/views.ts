import { isOver } from "./builds.ts";
import type { Build, BuildkiteEvent, Job, Pipeline } from "./types.ts";

type View = Record<string, unknown>;

/** A build as REST shows it, jobs included. `url` is the simulator's address. */
export function buildView(build: Build, url: string): View {
  return { ...buildWithoutJobs(build, url), jobs: build.jobs.map((job) => jobView(job, url)) };
}

/** The body of a webhook. Its build has no `jobs`; everything is as of the time the event is queued. */
export function webhookBody(event: BuildkiteEvent, url: string): View {
  return {
    event: event.name,
    ...("job" in event ? { job: jobView(event.job, url) } : {}),
    build: buildWithoutJobs(event.build, url),
    pipeline: pipelineView(event.build.pipeline, url),
    sender: { id: event.build.creator.id, name: event.build.creator.name },
  };
}

/** A build as REST shows it with `exclude_jobs`. */
export function buildWithoutJobs(build: Build, url: string): View {
  const { pipeline } = build;
  return {
    id: build.id,
    url: `${url}/v2/organizations/${pipeline.organization.slug}/pipelines/${pipeline.slug}/builds/${build.number}`,
    web_url: `${url}/${pipeline.organization.slug}/${pipeline.slug}/builds/${build.number}`,
    number: build.number,
    state: build.state,
    blocked: false,
    message: build.message,
    commit: build.commit,
    branch: build.branch,
    tag: build.tag,
    source: build.source,
    creator: { id: build.creator.id, name: build.creator.name, email: build.creator.email },
    created_at: time(build.createdAt),
    scheduled_at: time(build.createdAt),
    started_at: time(build.startedAt),
    finished_at: time(build.finishedAt),
    env: build.env,
    meta_data: Object.fromEntries(build.metaData),
    pull_request: build.pullRequest,
    pipeline: pipelineView(pipeline, url),
  };
}

function jobView(job: Job, url: string): View {
  const { build } = job;
  const { slug, organization } = build.pipeline;
  return {
    id: job.id,
    type: "script",
    name: job.name,
    step_key: job.stepKey,
    state: job.state,
    exit_status: job.exitStatus,
    signal_reason: job.state === "canceled" ? "cancel" : null,
    web_url: `${url}/${organization.slug}/${slug}/builds/${build.number}#${job.id}`,
    created_at: time(job.createdAt),
    scheduled_at: time(job.createdAt),
    runnable_at: time(job.createdAt),
    started_at: time(job.startedAt),
    finished_at: isOver(job) ? time(job.finishedAt) : null,
    agent: job.startedAt === undefined ? null : { id: job.agent.id, name: job.agent.name },
    agent_query_rules: [],
    cluster_id: build.pipeline.cluster?.id ?? null,
    cluster_queue_id: build.pipeline.queue?.id ?? null,
    retried: job.retriedIn !== undefined,
    retried_in_job_id: job.retriedIn ?? null,
    retries_count: job.retriesCount,
    retry_type: job.retriesCount > 0 ? "manual" : null,
  };
}

function pipelineView(pipeline: Pipeline, url: string): View {
  return {
    id: pipeline.id,
    slug: pipeline.slug,
    name: pipeline.slug,
    url: `${url}/v2/organizations/${pipeline.organization.slug}/pipelines/${pipeline.slug}`,
    repository: pipeline.repository,
    cluster_id: pipeline.cluster?.id ?? null,
  };
}

function time(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
