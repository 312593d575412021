import { ancestors, branchOf, commit } from "./repository.ts";
import type { MergeRequest, Project, User, World } from "./types.ts";

export interface MergeRequestOptions {
  readonly sourceBranch: string;
  readonly author: User;
  readonly targetBranch?: string;
  /** The fork the branch lives in; the target project itself when absent. */
  readonly sourceProject?: Project;
  readonly title?: string;
  readonly iid?: number;
}

/** How the target branch receives the change, and which shas the merge request then names:
 *  `merge` a merge commit (`merge_commit_sha`); `squash` one commit on the target (`squash_commit_sha` alone);
 *  `squash_with_merge_commit` both, the branch's head being the merge commit; `fast_forward` neither. */
export type MergeMethod = "merge" | "squash" | "squash_with_merge_commit" | "fast_forward";

/** Opens a merge request in `target` and sends the `open` hook. */
export function openMergeRequest(world: World, target: Project, options: MergeRequestOptions): MergeRequest {
  const sourceProject = options.sourceProject ?? target;
  const targetBranch = options.targetBranch ?? target.defaultBranch;
  const iid = options.iid ?? Math.max(0, ...target.mergeRequests.keys()) + 1;
  if (target.mergeRequests.has(iid)) throw new TypeError(`!${iid} exists already`);
  branchOf(target, targetBranch);
  const mergeRequest: MergeRequest = {
    id: world.nextId("merge_request"),
    iid,
    title: options.title ?? `Merge ${options.sourceBranch}`,
    author: options.author,
    sourceProject,
    targetProject: target,
    sourceBranch: options.sourceBranch,
    targetBranch,
    createdAt: world.now(),
    updatedAt: world.now(),
    state: "opened",
    sha: branchOf(sourceProject, options.sourceBranch).sha,
    baseSha: "",
    commits: [],
    approvals: [],
    versions: [],
    mergeCommitSha: undefined,
    squashCommitSha: undefined,
    mergedAt: undefined,
    mergedBy: undefined,
    headPipelineId: undefined,
  };
  target.mergeRequests.set(iid, mergeRequest);
  refreshDiff(mergeRequest);
  addVersion(world, mergeRequest);
  world.emit({ kind: "merge_request", mergeRequest, action: "open", user: options.author });
  return mergeRequest;
}

/** One user's approval of the present head. Sends `approved` when it completes what is required, else `approval`. */
export function approve(world: World, mergeRequest: MergeRequest, user: User): void {
  requireOpen(mergeRequest);
  if (mergeRequest.approvals.some((approval) => approval.user.id === user.id)) throw new TypeError("approved already");
  mergeRequest.approvals = [...mergeRequest.approvals, { user, at: world.now() }];
  mergeRequest.updatedAt = world.now();
  const action = approvalsLeft(mergeRequest) === 0 ? "approved" : "approval";
  world.emit({ kind: "merge_request", mergeRequest, action, user });
}

/** Takes one user's approval back. Sends `unapproved` when the request was fully approved before, else `unapproval`. */
export function unapprove(world: World, mergeRequest: MergeRequest, user: User): void {
  requireOpen(mergeRequest);
  if (!mergeRequest.approvals.some((approval) => approval.user.id === user.id)) throw new TypeError("not approved");
  const action = approvalsLeft(mergeRequest) === 0 ? "unapproved" : "unapproval";
  mergeRequest.approvals = mergeRequest.approvals.filter((approval) => approval.user.id !== user.id);
  mergeRequest.updatedAt = world.now();
  world.emit({ kind: "merge_request", mergeRequest, action, user });
}

/** Merges and moves the target branch; the head it then has is what the target's next pipeline runs. Refuses a
 *  request that lacks approvals, as GitLab does. No pipeline is started. */
export function mergeMergeRequest(
  world: World,
  mergeRequest: MergeRequest,
  options: { readonly user: User; readonly method?: MergeMethod },
): MergeRequest {
  requireOpen(mergeRequest);
  if (approvalsLeft(mergeRequest) > 0) throw new TypeError(`!${mergeRequest.iid} cannot be merged: not_approved`);
  refreshDiff(mergeRequest);
  const { targetProject: project, title } = mergeRequest;
  const target = branchOf(project, mergeRequest.targetBranch);
  const method = options.method ?? "merge";
  let head = mergeRequest.sha;
  if (method.startsWith("squash")) {
    head = commit(world, project, title, [target.sha], options.user).sha;
    mergeRequest.squashCommitSha = head;
  }
  if (method === "merge" || method === "squash_with_merge_commit") {
    const message = `Merge branch '${mergeRequest.sourceBranch}' into '${mergeRequest.targetBranch}'`;
    head = commit(world, project, message, [target.sha, head], options.user).sha;
    mergeRequest.mergeCommitSha = head;
  }
  target.sha = head;
  mergeRequest.state = "merged";
  mergeRequest.mergedAt = world.now();
  mergeRequest.mergedBy = options.user;
  mergeRequest.updatedAt = world.now();
  world.emit({ kind: "merge_request", mergeRequest, action: "merge", user: options.user });
  return mergeRequest;
}

/** Closes an open merge request without merging it. */
export function closeMergeRequest(world: World, mergeRequest: MergeRequest, user: User): void {
  requireOpen(mergeRequest);
  mergeRequest.state = "closed";
  mergeRequest.updatedAt = world.now();
  world.emit({ kind: "merge_request", mergeRequest, action: "close", user });
}

/** Opens a closed merge request again. A merged one stays merged. */
export function reopenMergeRequest(world: World, mergeRequest: MergeRequest, user: User): void {
  if (mergeRequest.state !== "closed") throw new TypeError(`!${mergeRequest.iid} is ${mergeRequest.state}`);
  mergeRequest.state = "opened";
  mergeRequest.updatedAt = world.now();
  refreshDiff(mergeRequest);
  world.emit({ kind: "merge_request", mergeRequest, action: "reopen", user });
}

/** What a push to a source branch does to the open merge requests that come from it. */
export function pushed(world: World, source: Project, branch: string, oldrev: string, user: User): void {
  for (const project of world.projects.values())
    for (const mergeRequest of project.mergeRequests.values()) {
      if (mergeRequest.state !== "opened" || mergeRequest.sourceProject !== source) continue;
      if (mergeRequest.sourceBranch !== branch) continue;
      refreshDiff(mergeRequest);
      addVersion(world, mergeRequest);
      if (project.resetApprovalsOnPush) mergeRequest.approvals = [];
      mergeRequest.updatedAt = world.now();
      world.emit({ kind: "merge_request", mergeRequest, action: "update", user, oldrev });
    }
}

function addVersion(world: World, mergeRequest: MergeRequest): void {
  const { sha, baseSha, versions } = mergeRequest;
  mergeRequest.versions = [{ id: world.nextId("version"), sha, baseSha, createdAt: world.now() }, ...versions];
}

/** How many approvals are still wanted; zero when none are required. */
export function approvalsLeft(mergeRequest: MergeRequest): number {
  return Math.max(0, mergeRequest.targetProject.approvalsRequired - mergeRequest.approvals.length);
}

/** Merge requests of `project` that a commit belongs to, as `GET …/commits/:sha/merge_requests` finds them: through
 *  any commit of the latest diff (not only its head), the merge commit or the squash commit. */
export function mergeRequestsOfCommit(project: Project, sha: string): readonly MergeRequest[] {
  return [...project.mergeRequests.values()].filter(
    (candidate) =>
      candidate.commits.includes(sha) || candidate.mergeCommitSha === sha || candidate.squashCommitSha === sha,
  );
}

/** Takes the source branch's head and commits over, and lets the target project read them (GitLab fetches a fork's
 *  commits into the target as `refs/merge-requests/<iid>/head`). */
function refreshDiff(mergeRequest: MergeRequest): void {
  const { sourceProject, targetProject } = mergeRequest;
  mergeRequest.sha = branchOf(sourceProject, mergeRequest.sourceBranch).sha;
  const inTarget = ancestors(targetProject, branchOf(targetProject, mergeRequest.targetBranch).sha);
  const own = ancestors(sourceProject, mergeRequest.sha);
  mergeRequest.commits = [...own].filter((sha) => !inTarget.has(sha)).toReversed();
  mergeRequest.baseSha = [...own].find((sha) => inTarget.has(sha)) ?? mergeRequest.sha;
  for (const sha of mergeRequest.commits) {
    const entry = sourceProject.commits.get(sha);
    if (entry) targetProject.commits.set(sha, entry);
  }
}

function requireOpen(mergeRequest: MergeRequest): void {
  if (mergeRequest.state !== "opened") throw new TypeError(`!${mergeRequest.iid} is ${mergeRequest.state}`);
}
