import type { AttributeValue, SelectorField } from "../../core/identity.ts";
import type { GitlabClaims } from "./claims.ts";

const string = { type: "string", arity: "one", anchors: false } as const;
const boolean = { type: "boolean", arity: "one", anchors: false } as const;
const everyProject = { type: "string", arity: "every", anchors: true } as const;

/** What a `gitlab:` selector can name. */
export const gitlabFields = {
  project: { ...everyProject, doc: "full path; for a fork's job both the fork's and the target's must match" },
  project_id: { ...everyProject, doc: "numeric id, which outlives renames; every project of the job must match" },
  group: { type: "string", arity: "any", anchors: true, doc: "full path of a group above every project of the job" },
  namespace_id: { ...everyProject, doc: "id of the group or user directly above each project of the job" },
  ref: { ...string, doc: "branch, or with ref_type: tag the tag; for a merge request its source branch" },
  ref_type: { ...string, doc: "branch or tag" },
  ref_protected: { ...boolean, doc: "the branch or tag is protected" },
  source: { ...string, doc: "what started the pipeline: push, merge_request_event, schedule, web, …" },
  environment: { ...string, doc: "environment of the job; trust it only with environment_protected: true" },
  environment_protected: { ...boolean, doc: "the environment is protected (Premium and Ultimate)" },
  deployment_tier: {
    ...string,
    doc: "production, staging, testing, development or other; as chosen in .gitlab-ci.yml",
  },
  environment_action: { ...string, doc: "start, prepare, stop, verify or access" },
  user_id: { ...string, doc: "id of the person who triggered the pipeline" },
  user_login: { ...string, doc: "their user name, which they can change" },
  user_access_level: { ...string, doc: "their role in the project: guest, planner, reporter, developer, …" },
  groups_direct: { type: "string", arity: "any", anchors: false, doc: "paths of groups they are a direct member of" },
  runner_id: { ...string, doc: "id of the runner" },
  runner_environment: { ...string, doc: "gitlab-hosted or self-hosted" },
  project_visibility: { ...string, doc: "public, internal or private" },
  ci_config_ref_uri: { ...string, doc: "file and ref the pipeline's configuration comes from" },
  job_source: { ...string, doc: "where the job's definition comes from: pipeline or a policy (18.9)" },
} as const satisfies Readonly<Record<string, SelectorField>>;

type Attributes = { readonly [Field in keyof typeof gitlabFields]: AttributeValue | null | undefined };

/** The selector attributes in a token's claims; what the token does not say is left out. */
export function gitlabAttributes(claims: GitlabClaims): Readonly<Record<string, AttributeValue>> {
  const projects = distinct([claims.project_path, claims.job_project_path]);
  const attributes: Attributes = {
    project: projects,
    project_id: distinct([claims.project_id, claims.job_project_id]),
    group: commonGroups(projects),
    namespace_id: namespaceIds(claims),
    ref: claims.ref,
    ref_type: claims.ref_type,
    ref_protected: claims.ref_protected,
    source: claims.pipeline_source,
    environment: claims.environment,
    environment_protected: claims.environment_protected,
    deployment_tier: claims.deployment_tier,
    environment_action: claims.environment_action,
    user_id: claims.user_id,
    user_login: claims.user_login,
    user_access_level: claims.user_access_level,
    groups_direct: claims.groups_direct,
    runner_id: claims.runner_id?.toString(),
    runner_environment: claims.runner_environment,
    project_visibility: claims.project_visibility,
    ci_config_ref_uri: claims.ci_config_ref_uri,
    job_source: claims.job_source,
  };
  return Object.fromEntries(
    Object.entries(attributes).filter((entry): entry is [string, AttributeValue] => entry[1] != null),
  );
}

/**
 * The groups above every project: a fork's namespace never stands for the target's, nor the target's for the fork's.
 * Undefined where there is none, so that a `deny` which names a group meets a missing claim and applies.
 */
function commonGroups(paths: readonly string[]): readonly string[] | undefined {
  const [first = [], ...others] = paths.map(ancestors);
  const common = first.filter((group) => others.every((groups) => groups.includes(group)));
  return common.length === 0 ? undefined : common;
}

/** `a/b/project` lies in `a` and `a/b`. */
function ancestors(path: string): readonly string[] {
  const parts = path.split("/");
  return parts.slice(0, -1).map((_, at) => parts.slice(0, at + 1).join("/"));
}

/** Undefined where the token names a second project without its namespace: half the answer would match too much. */
function namespaceIds(claims: GitlabClaims): readonly string[] | undefined {
  if (claims.job_project_id != null && claims.job_namespace_id == null) return undefined;
  return distinct([claims.namespace_id, claims.job_namespace_id]);
}

function distinct(values: readonly (string | null | undefined)[]): readonly string[] {
  return [...new Set(values.filter((value) => value != null))];
}
