import { pushed } from "./merge-requests.ts";
import { branchOf, commit } from "./repository.ts";
import type { Project, User, World } from "./types.ts";
import { rootUser } from "./users.ts";

export interface PushOptions {
  readonly message?: string;
  readonly author?: User;
  /** Replaces the branch's head instead of adding to it, so the old head is no longer part of the branch. */
  readonly force?: boolean;
}

/** Adds one commit to a branch, creating the branch from the default one, and says the new head. Open merge
 *  requests from that branch move with it, lose their approvals (a project setting) and send an `update` hook.
 *  No pipeline is started. */
export function pushCommit(world: World, project: Project, ref: string, options: PushOptions = {}): string {
  const existing = project.branches.get(ref);
  const base = existing ?? branchOf(project, project.defaultBranch);
  const author = options.author ?? rootUser(world);
  const parents = options.force && existing ? (project.commits.get(existing.sha)?.parents ?? []) : [base.sha];
  const { sha } = commit(world, project, options.message ?? `Change ${ref}`, parents, author);
  const oldSha = existing?.sha;
  if (existing) existing.sha = sha;
  else project.branches.set(ref, { sha, protected: false });
  if (oldSha) pushed(world, project, ref, oldSha, author);
  return sha;
}

/** Protects a branch or takes the protection away. The branch must exist. */
export function protectBranch(project: Project, name: string, isProtected = true): void {
  branchOf(project, name).protected = isProtected;
}

/** A tag on a commit, by default the default branch's head. */
export function createTag(project: Project, name: string, options: { sha?: string; protected?: boolean } = {}): void {
  const sha = options.sha ?? branchOf(project, project.defaultBranch).sha;
  project.tags.set(name, { sha, protected: options.protected ?? false });
}
