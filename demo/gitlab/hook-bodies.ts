import { displayName, namespacePath } from "./projects.ts";
import type { Commit, GitlabVersion, Job, MergeRequest, ModelEvent, Pipeline, Project, User } from "./types.ts";

export interface HookContext {
  /** External URL of the instance. */
  readonly url: string;
  readonly version: GitlabVersion;
}

type Body = Record<string, unknown>;

/** The body of a Job Hook. Its quirks are GitLab's: `object_kind` is `build`, ids are numbers, `commit.id` is the
 *  pipeline, times come as text and (19.0) once more as ISO 8601. */
export function jobHookBody(job: Job, context: HookContext): Body {
  const { pipeline } = job;
  const { project } = pipeline;
  return {
    object_kind: "build",
    ref: pipeline.ref,
    tag: pipeline.tag,
    before_sha: pipeline.beforeSha,
    sha: pipeline.sha,
    retries_count: job.retriesCount,
    build_id: job.id,
    build_name: job.name,
    build_stage: job.stage,
    build_status: job.status,
    build_created_at: legacyTime(job.createdAt),
    build_started_at: legacyTime(job.startedAt),
    build_finished_at: legacyTime(job.finishedAt),
    ...isoTimes(
      "build_",
      { created_at: job.createdAt, started_at: job.startedAt, finished_at: job.finishedAt },
      context,
    ),
    build_duration: seconds(job.startedAt, job.finishedAt),
    build_queued_duration: seconds(job.queuedAt, job.startedAt),
    build_allow_failure: job.allowFailure,
    build_failure_reason: job.failureReason ?? "unknown_failure",
    pipeline_id: pipeline.id,
    runner: job.startedAt === undefined ? null : runnerBody(job),
    project_id: project.id,
    project_name: displayName(project.path),
    user: userBody(job.user, context),
    commit: jobHookCommit(pipeline, context),
    repository: repositoryBody(project, context),
    project: projectBody(project, context),
    environment: environmentBody(job),
    ...sourcePipeline(pipeline, context),
  };
}

/** The body of a Pipeline Hook; for a merge request's pipeline `ref` is the source branch. */
export function pipelineHookBody(pipeline: Pipeline, context: HookContext): Body {
  const { project } = pipeline;
  return {
    object_kind: "pipeline",
    object_attributes: {
      id: pipeline.id,
      iid: pipeline.iid,
      name: null,
      ref: pipeline.sourceRef,
      tag: pipeline.tag,
      sha: pipeline.sha,
      before_sha: pipeline.beforeSha,
      source: pipeline.source,
      status: pipeline.status,
      detailed_status: pipeline.status === "success" ? "passed" : pipeline.status,
      stages: [...new Set(pipeline.jobs.map((job) => job.stage))],
      created_at: legacyTime(pipeline.createdAt),
      finished_at: legacyTime(pipeline.finishedAt),
      duration: seconds(pipeline.startedAt, pipeline.finishedAt),
      queued_duration: seconds(pipeline.createdAt, pipeline.startedAt),
      protected_ref: pipeline.refProtected,
      variables: [],
      url: `${context.url}/${project.path}/-/pipelines/${pipeline.id}`,
    },
    merge_request: pipeline.mergeRequest ? pipelineMergeRequest(pipeline.mergeRequest, context) : null,
    user: userBody(pipeline.user, context),
    project: projectBody(project, context),
    commit: commitBody(project, pipeline.sha, context),
    builds: pipeline.jobs.filter((job) => !job.retried).map((job) => pipelineJob(job, context)),
    ...sourcePipeline(pipeline, context),
  };
}

/** The body of a Merge Request Hook. `oldrev` is there only when a push changed the code. */
export function mergeRequestHookBody(event: ModelEvent & { kind: "merge_request" }, context: HookContext): Body {
  const { mergeRequest, action, user, oldrev } = event;
  const { targetProject, sourceProject } = mergeRequest;
  return {
    object_kind: "merge_request",
    event_type: "merge_request",
    user: userBody(user, context),
    project: projectBody(targetProject, context),
    object_attributes: {
      id: mergeRequest.id,
      iid: mergeRequest.iid,
      title: mergeRequest.title,
      description: "",
      author_id: mergeRequest.author.id,
      source_branch: mergeRequest.sourceBranch,
      target_branch: mergeRequest.targetBranch,
      source_project_id: sourceProject.id,
      target_project_id: targetProject.id,
      state: mergeRequest.state,
      merge_status: "can_be_merged",
      detailed_merge_status: detailedMergeStatus(mergeRequest),
      merge_commit_sha: mergeRequest.mergeCommitSha ?? null,
      head_pipeline_id: mergeRequest.headPipelineId ?? null,
      last_commit: commitBody(sourceProject, mergeRequest.sha, context),
      source: projectBody(sourceProject, context),
      target: projectBody(targetProject, context),
      draft: false,
      work_in_progress: false,
      created_at: legacyTime(mergeRequest.createdAt),
      updated_at: legacyTime(mergeRequest.updatedAt),
      url: `${context.url}/${targetProject.path}/-/merge_requests/${mergeRequest.iid}`,
      action,
      ...(oldrev ? { oldrev } : {}),
    },
    labels: [],
    changes: {},
    repository: repositoryBody(targetProject, context),
  };
}

/** Why a merge request can or cannot be merged, in GitLab's words. */
export function detailedMergeStatus(mergeRequest: MergeRequest): string {
  if (mergeRequest.state !== "opened") return "not_open";
  const missing = mergeRequest.targetProject.approvalsRequired - mergeRequest.approvals.length;
  return missing > 0 ? "not_approved" : "mergeable";
}

function jobHookCommit(pipeline: Pipeline, context: HookContext): Body {
  const { project, startedAt, finishedAt } = pipeline;
  const author = project.commits.get(pipeline.sha)?.author ?? pipeline.user;
  return {
    id: pipeline.id,
    name: null,
    sha: pipeline.sha,
    message: project.commits.get(pipeline.sha)?.message ?? "",
    author_name: author.name,
    author_email: author.email,
    author_url: `${context.url}/${author.username}`,
    status: pipeline.status,
    duration: seconds(startedAt, finishedAt),
    started_at: legacyTime(startedAt),
    finished_at: legacyTime(finishedAt),
    ...isoTimes("", { started_at: startedAt, finished_at: finishedAt }, context),
  };
}

function pipelineJob(job: Job, context: HookContext): Body {
  return {
    id: job.id,
    stage: job.stage,
    name: job.name,
    status: job.status,
    created_at: legacyTime(job.createdAt),
    started_at: legacyTime(job.startedAt),
    finished_at: legacyTime(job.finishedAt),
    duration: seconds(job.startedAt, job.finishedAt),
    queued_duration: seconds(job.queuedAt, job.startedAt),
    failure_reason: job.status === "failed" ? (job.failureReason ?? null) : null,
    when: "on_success",
    manual: false,
    allow_failure: job.allowFailure,
    user: userBody(job.user, context),
    runner: job.startedAt === undefined ? null : runnerBody(job),
    artifacts_file: { filename: null, size: null },
    environment: environmentBody(job),
  };
}

function pipelineMergeRequest(mergeRequest: MergeRequest, context: HookContext): Body {
  return {
    id: mergeRequest.id,
    iid: mergeRequest.iid,
    title: mergeRequest.title,
    source_branch: mergeRequest.sourceBranch,
    source_project_id: mergeRequest.sourceProject.id,
    target_branch: mergeRequest.targetBranch,
    target_project_id: mergeRequest.targetProject.id,
    state: mergeRequest.state,
    merge_status: "can_be_merged",
    detailed_merge_status: detailedMergeStatus(mergeRequest),
    url: `${context.url}/${mergeRequest.targetProject.path}/-/merge_requests/${mergeRequest.iid}`,
  };
}

function sourcePipeline({ parent }: Pipeline, context: HookContext): Body {
  if (!parent) return {};
  const { project, id } = parent.pipeline;
  return {
    source_pipeline: {
      project: { id: project.id, web_url: `${context.url}/${project.path}`, path_with_namespace: project.path },
      pipeline_id: id,
      job_id: parent.id,
    },
  };
}

function userBody(user: User, context: HookContext): Body {
  return {
    id: user.id,
    name: user.name,
    username: user.username,
    avatar_url: `${context.url}/uploads/-/system/user/avatar/${user.id}/avatar.png`,
    email: user.emailPublic ? user.email : "[REDACTED]",
  };
}

function runnerBody({ runner }: Job): Body {
  return {
    id: runner.id,
    description: runner.description,
    runner_type: runner.type,
    active: true,
    is_shared: runner.type === "instance_type",
    tags: [...runner.tags],
  };
}

function environmentBody({ environment }: Job): Body | null {
  if (!environment) return null;
  return { name: environment.name, action: environment.action, deployment_tier: environment.tier };
}

function commitBody(project: Project, sha: string, context: HookContext): Body | null {
  const entry: Commit | undefined = project.commits.get(sha);
  if (!entry) return null;
  return {
    id: entry.sha,
    message: entry.message,
    title: entry.message.split("\n")[0],
    timestamp: iso(entry.createdAt),
    url: `${context.url}/${project.path}/-/commit/${entry.sha}`,
    author: { name: entry.author.name, email: entry.author.email },
  };
}

function repositoryBody(project: Project, context: HookContext): Body {
  const name = project.path.split("/").at(-1);
  const { http, ssh, homepage } = addresses(project, context);
  const visibility_level = visibilityLevel[project.visibility];
  return { name, url: ssh, description: null, homepage, git_http_url: http, git_ssh_url: ssh, visibility_level };
}

function projectBody(project: Project, context: HookContext): Body {
  const { http, ssh, homepage } = addresses(project, context);
  return {
    id: project.id,
    name: project.path.split("/").at(-1),
    description: null,
    web_url: homepage,
    avatar_url: null,
    git_ssh_url: ssh,
    git_http_url: http,
    namespace: displayName(namespacePath(project)),
    visibility_level: visibilityLevel[project.visibility],
    path_with_namespace: project.path,
    default_branch: project.defaultBranch,
    ci_config_path: "",
  };
}

const visibilityLevel = { private: 0, internal: 10, public: 20 } as const;

function addresses(project: Project, context: HookContext) {
  const homepage = `${context.url}/${project.path}`;
  return { homepage, http: `${homepage}.git`, ssh: `git@${new URL(context.url).hostname}:${project.path}.git` };
}

function isoTimes(prefix: string, times: Record<string, number | undefined>, context: HookContext): Body {
  if (context.version !== "19.0") return {};
  return Object.fromEntries(Object.entries(times).map(([name, ms]) => [`${prefix}${name}_iso`, iso(ms)]));
}

/** `2026-11-24T09:30:12Z`. */
function iso(ms: number | undefined): string | null {
  return ms === undefined ? null : `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** `2026-11-24 09:30:12 UTC`. */
function legacyTime(ms: number | undefined): string | null {
  return ms === undefined ? null : `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

function seconds(from: number | undefined, to: number | undefined): number | null {
  return from === undefined || to === undefined ? null : (to - from) / 1000;
}
