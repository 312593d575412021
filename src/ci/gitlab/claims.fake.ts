/** The claims of a branch pipeline's job, as GitLab 19 sends them. */
export const branchJob: Readonly<Record<string, unknown>> = {
  iss: "https://gitlab.example",
  aud: "https://wayleave.example",
  sub: "project_path:evil/project:ref_type:branch:ref:main",
  iat: 1_795_000_000,
  nbf: 1_794_999_995,
  exp: 1_795_003_600,
  jti: "5b0a1c1e-0000-4000-8000-000000000000",
  namespace_id: "72",
  namespace_path: "acme/web",
  project_id: "1042",
  project_path: "acme/web/shop",
  job_namespace_id: "72",
  job_namespace_path: "acme/web",
  job_project_id: "1042",
  job_project_path: "acme/web/shop",
  user_id: "5",
  user_login: "jdoe",
  user_email: "jdoe@acme.example",
  user_access_level: "developer",
  groups_direct: ["acme", "acme/web"],
  pipeline_id: "5101",
  pipeline_source: "push",
  job_id: "7712",
  ref: "main",
  ref_type: "branch",
  ref_path: "refs/heads/main",
  ref_protected: "true",
  environment: "review/feature-x",
  environment_protected: "false",
  deployment_tier: "development",
  environment_action: "start",
  runner_id: 9,
  runner_environment: "self-hosted",
  sha: "a".repeat(40),
  ci_config_ref_uri: "gitlab.example/acme/web/shop//.gitlab-ci.yml@refs/heads/main",
  ci_config_sha: "a".repeat(40),
  project_visibility: "private",
  job_source: "pipeline",
};

/** The same for a merge request's pipeline that runs a fork's code in the target project. */
export const forkJob: Readonly<Record<string, unknown>> = {
  ...branchJob,
  namespace_id: "900",
  namespace_path: "mallory",
  project_id: "6666",
  project_path: "mallory/shop",
  pipeline_source: "merge_request_event",
  ref: "feature/x",
  ref_path: "refs/heads/feature/x",
  ref_protected: "false",
};

/** Claims with some left out, as older versions do. */
export function without(claims: Readonly<Record<string, unknown>>, ...names: string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !names.includes(name)));
}
