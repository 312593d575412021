import { namespacePath } from "./projects.ts";
import type { GitlabVersion, Job, Project, User } from "./types.ts";

export interface IdTokenOptions {
  /** A string stays a string and a list stays a list, as written in `.gitlab-ci.yml`. */
  readonly aud: string | readonly string[];
  /** Milliseconds since the epoch; when the job was handed to its runner unless said. */
  readonly issuedAt?: number;
  /** Claims to replace, or with `undefined` to leave out. Only for tokens the real GitLab would not sign. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

export interface Minting {
  readonly version: GitlabVersion;
  readonly issuer: string;
  /** Seconds since the epoch. */
  readonly iat: number;
  readonly jti: string;
}

/** The claims of a job's id token: every id a string, booleans as `"true"`/`"false"`, only `runner_id` a number.
 *  `project_*` is the fork from 18.2.2 on, and `job_project_*` (18.4) where the job runs. */
export function jobClaims(job: Job, aud: string | readonly string[], minting: Minting): Record<string, unknown> {
  const { pipeline, user } = job;
  const { version, iat } = minting;
  const claimed = version === "16.11" ? pipeline.project : (pipeline.mergeRequest?.sourceProject ?? pipeline.project);
  const refType = pipeline.tag ? "tag" : "branch";
  return {
    ...projectClaims(claimed, ""),
    user_id: String(user.id),
    user_login: user.username,
    user_email: user.email,
    user_access_level: claimed.members.get(user.id) ?? null,
    ...(version === "19.0" ? projectClaims(pipeline.project, "job_") : {}),
    pipeline_id: String(pipeline.id),
    pipeline_source: pipeline.source,
    job_id: String(job.id),
    ref: pipeline.sourceRef,
    ref_type: refType,
    ref_path: refPath(job),
    ref_protected: String(pipeline.refProtected),
    ...(user.groups.length <= 200 ? { groups_direct: [...user.groups] } : {}),
    ...environmentClaims(job),
    runner_id: job.runner.id,
    runner_environment: job.runner.hosted ? "gitlab-hosted" : "self-hosted",
    sha: pipeline.sha,
    project_visibility: pipeline.project.visibility,
    ...(user.identities ? { user_identities: user.identities } : {}),
    ...configClaims(job, minting.issuer),
    ...(version === "19.0" ? { job_source: "pipeline" } : {}),
    iss: minting.issuer,
    iat,
    nbf: iat - 5,
    exp: iat + job.timeoutSeconds,
    jti: minting.jti,
    aud,
    sub: subject(job, claimed, refType),
  };
}

/** The claims of a person's sign-in at an OAuth application: same issuer, no job. Lives 120 seconds. */
export function humanClaims(user: User, aud: string, minting: Minting): Record<string, unknown> {
  return {
    iss: minting.issuer,
    sub: String(user.id),
    aud,
    exp: minting.iat + 120,
    iat: minting.iat,
    auth_time: minting.iat,
    name: user.name,
    nickname: user.username,
    preferred_username: user.username,
    email: user.email,
    email_verified: true,
    profile: `${minting.issuer}/${user.username}`,
    picture: null,
    groups_direct: [...user.groups],
  };
}

function projectClaims(project: Project, prefix: "" | "job_"): Record<string, string> {
  return {
    [`${prefix}project_id`]: String(project.id),
    [`${prefix}project_path`]: project.path,
    [`${prefix}namespace_id`]: String(project.namespaceId),
    [`${prefix}namespace_path`]: namespacePath(project),
  };
}

function environmentClaims({ environment, pipeline }: Job): Record<string, string> {
  if (!environment) return {};
  return {
    environment: environment.name,
    environment_protected: String(pipeline.project.protectedEnvironments.has(environment.name)),
    deployment_tier: environment.tier,
    environment_action: environment.action,
  };
}

/** Absent in child pipelines, whose configuration is an artifact and no file of the repository. */
function configClaims(job: Job, issuer: string): Record<string, string> {
  const { project, sha, source } = job.pipeline;
  if (source === "parent_pipeline") return {};
  const host = issuer.replace(/^https?:\/\//, "");
  return { ci_config_ref_uri: `${host}/${project.path}//.gitlab-ci.yml@${refPath(job)}`, ci_config_sha: sha };
}

function refPath({ pipeline }: Job): string {
  return `refs/${pipeline.tag ? "tags" : "heads"}/${pipeline.sourceRef}`;
}

function subject(job: Job, claimed: Project, refType: string): string {
  const { pipeline, environment } = job;
  const values: Readonly<Record<string, string | undefined>> = {
    project_path: claimed.path,
    ref_type: refType,
    ref: pipeline.sourceRef,
    ref_protected: String(pipeline.refProtected),
    environment_protected: environment && String(pipeline.project.protectedEnvironments.has(environment.name)),
    deployment_tier: environment?.tier,
  };
  return pipeline.project.subComponents
    .filter((component) => values[component] !== undefined)
    .map((component) => `${component}:${values[component]}`)
    .join(":");
}
