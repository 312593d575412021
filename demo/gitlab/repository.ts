import { createHash } from "node:crypto";
import type { Commit, Project, Ref, User, World } from "./types.ts";

/** The named branch. Throws TypeError when there is none. */
export function branchOf(project: Project, name: string): Ref {
  const branch = project.branches.get(name);
  if (!branch) throw new TypeError(`${project.path} has no branch ${name}`);
  return branch;
}

/** Records a commit without moving any branch. */
export function commit(
  world: World,
  project: Project,
  message: string,
  parents: readonly string[],
  author: User,
): Commit {
  // Numbered, so that the same story has the same ids on every run and no two commits collide.
  const seed = `${world.nextId("commit")} ${project.id} ${parents.join(" ")} ${message}`;
  const sha = createHash("sha1").update(seed).digest("hex");
  const entry: Commit = { sha, parents, message, author, createdAt: world.now() };
  project.commits.set(sha, entry);
  return entry;
}

/** A commit and everything before it, newest first. */
export function ancestors(project: Project, head: string): Set<string> {
  const seen = new Set([head]);
  for (const sha of seen) for (const parent of project.commits.get(sha)?.parents ?? []) seen.add(parent);
  return seen;
}
