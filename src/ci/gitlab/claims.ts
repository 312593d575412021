import { z } from "zod";
import { WayleaveError } from "../../core/errors.ts";
import type { ForkStatus, JobIdentity } from "../../core/identity.ts";
import { claimText, commitSha, readClaims } from "../read-claims.ts";

/** GitLab sends every id as a JSON string. */
const id = z.string("must be a string of digits").regex(/^[1-9]\d{0,19}$/, "must be a string of digits");

/** GitLab sends every boolean as a string. */
const flag = z.enum(["true", "false"], 'must be the string "true" or "false"').transform((value) => value === "true");

const projectPath = z
  .string("must be a string")
  .max(1024, "must not be longer than 1024 characters")
  .regex(/^[A-Za-z0-9_.-]+(?:\/[A-Za-z0-9_.-]+)+$/, "must be a project path such as group/project")
  .refine((path) => path.split("/").every((part) => part !== "." && part !== ".."), "must have no dot segment");

/**
 * The claims of a job's id token that carry trust, by their true types. Optional are those that only newer versions or
 * only some jobs have. `sub` is not here: projects choose its parts, so it is never read.
 */
const GitlabClaims = z.object({
  project_id: id,
  project_path: projectPath,
  namespace_id: id,
  pipeline_id: id,
  pipeline_source: claimText,
  job_id: id,
  ref: claimText,
  ref_type: z.enum(["branch", "tag"], 'must be "branch" or "tag"'),
  ref_protected: flag,
  user_id: id,
  user_login: claimText,
  ref_path: claimText.nullish(),
  sha: commitSha.nullish(),
  job_project_id: id.nullish(),
  job_project_path: projectPath.nullish(),
  job_namespace_id: id.nullish(),
  user_access_level: claimText.nullish(),
  groups_direct: z.array(claimText, "must be a list").max(1000, "must have at most 1000 entries").nullish(),
  environment: claimText.nullish(),
  environment_protected: flag.nullish(),
  deployment_tier: claimText.nullish(),
  environment_action: claimText.nullish(),
  runner_id: z.int("must be a whole number").positive("must be positive").nullish(),
  runner_environment: claimText.nullish(),
  project_visibility: claimText.nullish(),
  ci_config_ref_uri: claimText.nullish(),
  job_source: claimText.nullish(),
});

export type GitlabClaims = z.infer<typeof GitlabClaims>;

/**
 * The claims of a verified payload. Throws `identity_refused` for a claim that is missing or of another type, and for a
 * person's sign-in token, which the same issuer signs.
 */
export function readGitlabClaims(payload: Readonly<Record<string, unknown>>): GitlabClaims {
  if (["job_id", "pipeline_id", "project_id"].every((claim) => payload[claim] === undefined)) {
    throw new WayleaveError(
      "identity_refused",
      "This is a person's sign-in token, not a job's: it has no job_id, pipeline_id and project_id. " +
        "Use the variable that the job's id_tokens defines.",
    );
  }
  const claims = readClaims(GitlabClaims, payload);
  if ((claims.job_project_id == null) !== (claims.job_project_path == null)) {
    throw new WayleaveError(
      "identity_refused",
      "The token has only one of job_project_id and job_project_path; only an unchanged token of the CI is taken.",
    );
  }
  return claims;
}

/** Sources of pipelines that run the project's own code, whatever the version. */
const ownCode: ReadonlySet<string> = new Set([
  "push",
  "web",
  "trigger",
  "schedule",
  "api",
  "pipeline",
  "chat",
  "webide",
]);

/**
 * Whether the job runs a fork's code. From 18.4 on the token says so: `project_*` is where the code comes from,
 * `job_project_*` where it runs. Before, a merge request's pipeline, and the child pipelines it starts, may be a fork's
 * under either project's name: unknown, as is any source that may carry a merge request.
 */
export function forkStatus(claims: GitlabClaims): ForkStatus {
  if (claims.job_project_id != null) return claims.job_project_id === claims.project_id ? "no" : "yes";
  const ofMergeRequest = claims.ref_path?.startsWith("refs/merge-requests/") === true;
  return ownCode.has(claims.pipeline_source) && !ofMergeRequest ? "no" : "unknown";
}

/** Id of the project that runs the job: the last of its project ids, and the only one but for forks. */
export function runningProjectId(identity: JobIdentity): string {
  const ids = identity.attributes.project_id;
  return (Array.isArray(ids) ? ids.at(-1) : undefined) ?? identity.project.id;
}
