import { detailedMergeStatus } from "./hook-bodies.ts";
import { approvalsLeft } from "./merge-requests.ts";
import { displayName, namespacePath } from "./projects.ts";
import type { Environment, Job, MergeRequest, Pipeline, Project, ProtectedEnvironment, User } from "./types.ts";

type View = Record<string, unknown>;

/** A job as `GET /projects/:id/jobs/:job_id` shows it. `url` is the instance's external URL. */
export function jobView(job: Job, url: string): View {
  const { pipeline } = job;
  return {
    id: job.id,
    status: job.status,
    stage: job.stage,
    name: job.name,
    ref: pipeline.ref,
    tag: pipeline.tag,
    coverage: null,
    allow_failure: job.allowFailure,
    created_at: time(job.createdAt),
    started_at: time(job.startedAt),
    finished_at: time(job.finishedAt),
    erased_at: null,
    duration: seconds(job.startedAt, job.finishedAt),
    queued_duration: seconds(job.queuedAt, job.startedAt),
    user: userView(job.user, url),
    commit: commitView(pipeline.project, pipeline.sha, url),
    pipeline: pipelineView(pipeline, url),
    ...(job.status === "failed" ? { failure_reason: job.failureReason } : {}),
    web_url: `${url}/${pipeline.project.path}/-/jobs/${job.id}`,
    project: { ci_job_token_scope_enabled: false },
    artifacts: [],
    runner: job.startedAt === undefined ? null : runnerView(job),
    runner_manager: null,
    artifacts_expire_at: null,
    archived: false,
    tag_list: [...job.runner.tags],
  };
}

/** A project as `GET /projects/:id` shows it. */
export function projectView(project: Project, url: string): View {
  const name = project.path.split("/").at(-1) ?? "";
  const parent = namespacePath(project);
  const { forkedFrom } = project;
  return {
    id: project.id,
    description: null,
    name,
    name_with_namespace: displayName(project.path),
    path: name,
    path_with_namespace: project.path,
    created_at: time(project.createdAt),
    default_branch: project.defaultBranch,
    web_url: `${url}/${project.path}`,
    http_url_to_repo: `${url}/${project.path}.git`,
    namespace: {
      id: project.namespaceId,
      name: parent.split("/").at(-1),
      path: parent.split("/").at(-1),
      kind: "group",
      full_path: parent,
    },
    visibility: project.visibility,
    archived: false,
    ci_config_path: "",
    ...(forkedFrom ? { forked_from_project: { id: forkedFrom.id, path_with_namespace: forkedFrom.path } } : {}),
  };
}

/** A merge request as `GET …/merge_requests/:iid` shows it; `sha` is the source branch's head. */
export function mergeRequestView(mergeRequest: MergeRequest, url: string): View {
  const { targetProject, sourceProject, iid } = mergeRequest;
  return {
    id: mergeRequest.id,
    iid,
    project_id: targetProject.id,
    title: mergeRequest.title,
    description: "",
    state: mergeRequest.state,
    created_at: time(mergeRequest.createdAt),
    updated_at: time(mergeRequest.updatedAt),
    merged_at: time(mergeRequest.mergedAt),
    merge_user: mergeRequest.mergedBy ? userView(mergeRequest.mergedBy, url) : null,
    author: userView(mergeRequest.author, url),
    source_branch: mergeRequest.sourceBranch,
    target_branch: mergeRequest.targetBranch,
    source_project_id: sourceProject.id,
    target_project_id: targetProject.id,
    draft: false,
    merge_status: "can_be_merged",
    detailed_merge_status: detailedMergeStatus(mergeRequest),
    sha: mergeRequest.sha,
    merge_commit_sha: mergeRequest.mergeCommitSha ?? null,
    squash_commit_sha: mergeRequest.squashCommitSha ?? null,
    diff_refs: { base_sha: mergeRequest.baseSha, head_sha: mergeRequest.sha, start_sha: mergeRequest.baseSha },
    web_url: `${url}/${targetProject.path}/-/merge_requests/${iid}`,
  };
}

/** The versions of a merge request's diff, newest first. */
export function versionsView(mergeRequest: MergeRequest): readonly View[] {
  return mergeRequest.versions.map(({ id, sha, baseSha, createdAt }) => ({
    id,
    head_commit_sha: sha,
    base_commit_sha: baseSha,
    start_commit_sha: baseSha,
    created_at: time(createdAt),
    merge_request_id: mergeRequest.id,
    state: "collected",
    real_size: "1",
  }));
}

/** Approvals as `GET …/approvals` shows them. `approved` is true when nothing is missing, so with none required even
 *  when nobody approved. */
export function approvalsView(mergeRequest: MergeRequest, url: string): View {
  const left = approvalsLeft(mergeRequest);
  return {
    id: mergeRequest.id,
    iid: mergeRequest.iid,
    project_id: mergeRequest.targetProject.id,
    title: mergeRequest.title,
    state: mergeRequest.state,
    created_at: time(mergeRequest.createdAt),
    updated_at: time(mergeRequest.updatedAt),
    merge_status: "can_be_merged",
    approved: left === 0,
    approvals_required: mergeRequest.targetProject.approvalsRequired,
    approvals_left: left,
    approved_by: mergeRequest.approvals.map(({ user, at }) => ({ user: userView(user, url), approved_at: time(at) })),
    suggested_approvers: [],
    approvers: [],
    approver_groups: [],
  };
}

export function environmentView(environment: Environment): View {
  const { id, name, tier, createdAt } = environment;
  const slug = name.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return { id, name, slug, external_url: null, state: "available", tier, created_at: time(createdAt) };
}

export function protectedEnvironmentView({ name, requiredApprovals }: ProtectedEnvironment): View {
  const maintainers = { access_level: 40, access_level_description: "Maintainers", user_id: null, group_id: null };
  return {
    name,
    deploy_access_levels: [{ id: 1, ...maintainers }],
    required_approval_count: requiredApprovals,
    approval_rules: requiredApprovals > 0 ? [{ id: 1, ...maintainers, required_approvals: requiredApprovals }] : [],
  };
}

/** A pipeline as lists and jobs show it. */
export function pipelineView(pipeline: Pipeline, url: string): View {
  return {
    id: pipeline.id,
    iid: pipeline.iid,
    project_id: pipeline.project.id,
    sha: pipeline.sha,
    ref: pipeline.ref,
    status: pipeline.status,
    source: pipeline.source,
    created_at: time(pipeline.createdAt),
    updated_at: time(updatedAt(pipeline)),
    web_url: `${url}/${pipeline.project.path}/-/pipelines/${pipeline.id}`,
  };
}

/** When its status last changed. */
export function updatedAt({ createdAt, startedAt, finishedAt }: Pipeline): number {
  return finishedAt ?? startedAt ?? createdAt;
}

function commitView(project: Project, sha: string, url: string): View | null {
  const entry = project.commits.get(sha);
  if (!entry) return null;
  return {
    id: sha,
    short_id: sha.slice(0, 8),
    title: entry.message,
    message: entry.message,
    author_name: entry.author.name,
    author_email: entry.author.email,
    created_at: time(entry.createdAt),
    parent_ids: [...entry.parents],
    web_url: `${url}/${project.path}/-/commit/${sha}`,
  };
}

function runnerView({ runner }: Job): View {
  const { id, description, type } = runner;
  return {
    id,
    description,
    active: true,
    paused: false,
    is_shared: type === "instance_type",
    runner_type: type,
    online: true,
    status: "online",
  };
}

function userView(user: User, url: string): View {
  return { id: user.id, username: user.username, name: user.name, state: "active", web_url: `${url}/${user.username}` };
}

function time(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

function seconds(from: number | undefined, to: number | undefined): number | null {
  return from === undefined || to === undefined ? null : (to - from) / 1000;
}
