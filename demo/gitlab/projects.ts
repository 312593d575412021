import { commit } from "./repository.ts";
import type { AccessLevel, Project, Visibility, World } from "./types.ts";
import { rootUser, userOf } from "./users.ts";

export interface ProjectOptions {
  /** Full path: namespace and name, such as `acme/shop`. */
  readonly path: string;
  readonly id?: number;
  readonly visibility?: Visibility;
  readonly defaultBranch?: string;
  /** Access by username; the users must exist. */
  readonly members?: Readonly<Record<string, AccessLevel>>;
  readonly approvalsRequired?: number;
  readonly resetApprovalsOnPush?: boolean;
  readonly subComponents?: readonly string[];
}

/** A project with a first commit on its protected default branch. */
export function createProject(world: World, options: ProjectOptions): Project {
  const project = emptyProject(world, options);
  const root = commit(world, project, "Initial commit", [], rootUser(world));
  project.branches.set(project.defaultBranch, { sha: root.sha, protected: true });
  return project;
}

/** A fork with the parent's branches and commits; only its own default branch is protected. */
export function forkProject(world: World, parent: Project, options: ProjectOptions): Project {
  const fork = emptyProject(world, { defaultBranch: parent.defaultBranch, ...options }, parent);
  for (const [sha, entry] of parent.commits) fork.commits.set(sha, entry);
  for (const [name, branch] of parent.branches)
    fork.branches.set(name, { sha: branch.sha, protected: name === fork.defaultBranch });
  return fork;
}

/** Moves a project to another path; its id stays, and the old path is free for somebody else's project. */
export function renameProject(world: World, project: Project, path: string): void {
  refuseTakenPath(world, path);
  project.path = path;
}

/** Protects an environment, which need not exist yet. Premium and Ultimate only in the real one. */
export function protectEnvironment(project: Project, name: string, requiredApprovals = 0): void {
  project.protectedEnvironments.set(name, { name, requiredApprovals });
}

/** "Acme / Shop": how hooks and pages show `acme/shop`. */
export function displayName(path: string): string {
  return path.split("/").map(capitalised).join(" / ");
}

/** Full path of the namespace a project lives in. */
export function namespacePath(project: Project): string {
  return project.path.slice(0, project.path.lastIndexOf("/"));
}

function emptyProject(world: World, options: ProjectOptions, forkedFrom?: Project): Project {
  refuseTakenPath(world, options.path);
  if (options.id !== undefined && world.projects.has(options.id)) throw new TypeError(`project ${options.id} exists`);
  const project: Project = {
    id: options.id ?? freeId(world),
    path: options.path,
    namespaceId: namespaceId(world, options.path.slice(0, options.path.lastIndexOf("/"))),
    visibility: options.visibility ?? "private",
    defaultBranch: options.defaultBranch ?? "main",
    ...(forkedFrom ? { forkedFrom } : {}),
    createdAt: world.now(),
    branches: new Map(),
    tags: new Map(),
    commits: new Map(),
    members: new Map(Object.entries(options.members ?? {}).map(([name, level]) => [userOf(world, name).id, level])),
    environments: new Map(),
    protectedEnvironments: new Map(),
    mergeRequests: new Map(),
    approvalsRequired: options.approvalsRequired ?? 0,
    resetApprovalsOnPush: options.resetApprovalsOnPush ?? true,
    subComponents: options.subComponents ?? ["project_path", "ref_type", "ref"],
  };
  world.projects.set(project.id, project);
  return project;
}

function refuseTakenPath(world: World, path: string): void {
  if (!/^[\w.-]+(\/[\w.-]+)+$/.test(path)) throw new TypeError(`${path} is not a project path`);
  if ([...world.projects.values()].some((project) => project.path.toLowerCase() === path.toLowerCase()))
    throw new TypeError(`project ${path} exists already`);
}

function freeId(world: World): number {
  let id = world.nextId("project");
  while (world.projects.has(id)) id = world.nextId("project");
  return id;
}

function namespaceId(world: World, path: string): number {
  const known = world.namespaceIds.get(path);
  if (known !== undefined) return known;
  const id = world.nextId("namespace");
  world.namespaceIds.set(path, id);
  return id;
}

function capitalised(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
