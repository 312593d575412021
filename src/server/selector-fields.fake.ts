import { pullRequestJob } from "../ci/github/claims.fake.ts";
import type { vocabulary } from "../ci/providers.ts";
import type { IssuerType } from "../core/identity.ts";
import { awsSays, type FieldCase, gone, uuid } from "./selector-cases.fake.ts";

const text = (value: string, claim: string, ...others: readonly (string | undefined)[]): FieldCase => {
  const [first, second, ...rest] = [...others, `${value}x`, `x${value}`].map((other) => ({ [claim]: other }));
  return { value, refuses: [first ?? {}, second ?? {}, ...rest] };
};
const runner: FieldCase = {
  value: "spiffe://mesh.example/runner/*",
  matches: { "proven runner": "spiffe://mesh.example/runner/7" },
  refuses: [
    {},
    { "proven runner": "spiffe://evil.example/runner/7" },
    { "proven runner": "spiffe://mesh.example/runner/7/x" },
    { "proven runner": "spiffe://mesh.example/runners/7" },
  ],
};

/** For each field of each issuer: a value, the job it matches, and jobs it does not. */
export const fieldCases: {
  readonly [T in IssuerType]: { readonly [Field in keyof (typeof vocabulary)[T]]: FieldCase };
} = {
  gitlab: {
    project: {
      value: "acme/web/shop",
      refuses: [
        { project_path: "acme/web/shop2", job_project_path: "acme/web/shop2" },
        { project_path: "mallory/shop" },
        { job_project_path: "acme/web/other", job_project_id: "1042" },
        { project_path: "Acme/web/shop", job_project_path: "Acme/web/shop" },
      ],
    },
    project_id: {
      value: "1042",
      refuses: [{ project_id: "10421", job_project_id: "10421" }, { project_id: "6666" }, { job_project_id: "1" }],
    },
    group: {
      value: "acme/web",
      refuses: [
        { project_path: "acme/web2/shop", job_project_path: "acme/web2/shop" },
        { project_path: "mallory/shop", project_id: "6666" },
        { project_path: "acme/shop", job_project_path: "acme/shop" },
      ],
    },
    namespace_id: {
      value: "72",
      refuses: [{ namespace_id: "721", job_namespace_id: "721" }, { namespace_id: "900" }, { job_namespace_id: gone }],
    },
    ref: {
      value: "main",
      refuses: [{ ref: "main2" }, { ref: "x/main" }, { ref: "main", ref_type: "tag" }, { ref: "MAIN" }],
    },
    ref_type: {
      value: "tag",
      matches: { ref_type: "tag", ref: "v1" },
      refuses: [{}, { ref: "v1" }],
    },
    ref_protected: { value: true, refuses: [{ ref_protected: "false" }, { ref: "x", ref_protected: "false" }] },
    source: text("push", "pipeline_source", "merge_request_event", "PUSH"),
    environment: text("review/feature-x", "environment", gone, "review/feature-y"),
    environment_protected: {
      value: true,
      matches: { environment_protected: "true" },
      refuses: [{}, { environment_protected: gone }, { environment_protected: null, environment: null }],
    },
    deployment_tier: text("development", "deployment_tier", gone, "production"),
    environment_action: text("start", "environment_action", gone, "stop"),
    user_id: {
      value: "5",
      refuses: [{ user_id: "55" }, { user_id: "6" }],
    },
    user_login: text("jdoe", "user_login", "jdoe2"),
    user_access_level: text("developer", "user_access_level", gone, "maintainer"),
    groups_direct: {
      value: "acme",
      refuses: [{ groups_direct: gone }, { groups_direct: [] }, { groups_direct: ["acme2"] }],
    },
    runner_id: { value: "9", refuses: [{ runner_id: 99 }, { runner_id: gone }] },
    runner_environment: text("self-hosted", "runner_environment", gone, "gitlab-hosted"),
    project_visibility: text("private", "project_visibility", gone, "public"),
    ci_config_ref_uri: text(
      "gitlab.example/acme/web/shop//.gitlab-ci.yml@refs/heads/main",
      "ci_config_ref_uri",
      gone,
      "gitlab.example/mallory/shop//.gitlab-ci.yml@refs/heads/main",
    ),
    job_source: text("pipeline", "job_source", gone, "scan_execution_policy"),
    runner,
  },
  buildkite: {
    organization: { value: "acme", refuses: [{ organization_slug: "acme2" }, { organization_slug: "Acme" }] },
    organization_id: { value: uuid(1), refuses: [{ organization_id: uuid(9) }, { organization_id: uuid(2) }] },
    pipeline: { value: "shop-e2e", refuses: [{ pipeline_slug: "shop-e2e-2" }, { pipeline_slug: "shop" }] },
    pipeline_id: { value: uuid(2), refuses: [{ pipeline_id: uuid(9) }, { pipeline_id: uuid(1) }] },
    ref: {
      value: "main",
      refuses: [{ build_branch: "main2" }, { build_tag: "main" }, { build_branch: "mallory:main" }],
    },
    ref_type: { value: "tag", matches: { build_tag: "v1" }, refuses: [{}, { build_branch: "v1" }] },
    source: text("webhook", "build_source", "api", "ui"),
    step: {
      value: "smoke",
      refuses: [{ step_key: null }, { step_key: "smoke2" }, { step_key: "Smoke" }],
    },
    runner_environment: text("self-hosted", "runner_environment", "buildkite-hosted"),
    cluster: {
      value: "prod",
      matches: { cluster_name: "prod" },
      refuses: [{}, { cluster_name: "prod2" }, { cluster_name: null }],
    },
    cluster_id: { value: uuid(6), matches: { cluster_id: uuid(6) }, refuses: [{}, { cluster_id: uuid(7) }] },
    queue: {
      value: "deploy",
      matches: { queue_key: "deploy" },
      refuses: [{}, { queue_key: "default" }, { "agent_tag:queue": "deploy" }],
    },
    queue_id: { value: uuid(6), matches: { queue_id: uuid(6) }, refuses: [{}, { queue_id: uuid(7) }] },
    runner,
  },
  github: {
    repository: {
      value: "acme/shop",
      refuses: [
        { repository: "acme/shop2" },
        { repository: "mallory/shop", repository_owner: "mallory" },
        { repository: "acme/Shop" },
      ],
    },
    repository_id: { value: "74201", refuses: [{ repository_id: "742011" }, { repository_id: "1" }] },
    repository_owner: {
      value: "acme",
      refuses: [
        { repository: "acme2/shop", repository_owner: "acme2" },
        { repository: "mallory/acme", repository_owner: "mallory" },
      ],
    },
    repository_owner_id: { value: "65", refuses: [{ repository_owner_id: "6" }, { repository_owner_id: "655" }] },
    repository_visibility: {
      value: "private",
      refuses: [{ repository_visibility: "public" }, { repository_visibility: "internal" }],
    },
    ref: {
      value: "main",
      refuses: [
        { ref: "refs/heads/main2" },
        { ref: "refs/tags/main", ref_type: "tag" },
        { ...pullRequestJob, head_ref: "main", base_ref: "main", repository_visibility: "public" },
        { ref: "refs/heads/x/main" },
      ],
    },
    ref_type: {
      value: "tag",
      matches: { ref: "refs/tags/v1", ref_type: "tag" },
      refuses: [{}, { ref: "refs/heads/v1" }],
    },
    ref_protected: { value: true, refuses: [{ ref_protected: "false" }, { ref_protected: gone }] },
    base_ref: {
      value: "main",
      matches: { ...pullRequestJob, repository_visibility: "public" },
      refuses: [{}, { ...pullRequestJob, repository_visibility: "public", base_ref: "dev" }],
    },
    head_ref: {
      value: "feature/x",
      matches: { ...pullRequestJob, repository_visibility: "public" },
      refuses: [{}, { ...pullRequestJob, repository_visibility: "public", head_ref: "feature/y" }],
    },
    event_name: text("push", "event_name", "schedule", "pull_request"),
    environment: text("production", "environment", gone, ""),
    workflow_ref: text("acme/shop/.github/workflows/ci.yml@refs/heads/main", "workflow_ref"),
    job_workflow_ref: text("acme/shop/.github/workflows/ci.yml@refs/heads/main", "job_workflow_ref", gone),
    actor: text("dana", "actor", "Dana"),
    actor_id: { value: "12", refuses: [{ actor_id: "1" }, { actor_id: "122" }] },
    runner_environment: {
      value: "self-hosted",
      matches: { runner_environment: "self-hosted" },
      refuses: [{}, { runner_environment: "github-hosted" }],
    },
    run_attempt: { value: "1", refuses: [{ run_attempt: "2" }, { run_attempt: "11" }] },
    enterprise: text("acme-corp", "enterprise", gone, ""),
    enterprise_id: { value: "3", refuses: [{ enterprise_id: "33" }, { enterprise_id: gone }] },
    runner,
  },
  oidc: {
    project: text("acme/shop", "name", "Acme/shop"),
    project_id: { value: "7", refuses: [{ id: "77" }, { id: 8 }] },
    group: { value: "acme", refuses: [{ name: "acme2/shop" }, { name: "shop" }, { name: "https://acme/shop" }] },
    organization: text("acme-org", "org", gone),
    ref: {
      value: "main",
      refuses: [
        { branch: "refs/tags/main" },
        { branch: gone },
        { branch: "refs/heads/main2" },
        { branch: "refs/pull/1" },
      ],
    },
    ref_type: {
      value: "tag",
      matches: { branch: "refs/tags/v1" },
      refuses: [{}, { branch: "v1" }, { branch: gone }],
    },
    environment: text("production", "env", gone),
    source: text("push", "why", gone),
    user_id: text("u-1", "who", gone),
    runner_environment: text("hosted", "machine", gone),
    roles: { value: "deploy", refuses: [{ roles: ["deployer"] }, { roles: [] }, { roles: gone }] },
    runner,
  },
  aws: {
    account: {
      value: "111122223333",
      refuses: [
        { sub: "arn:aws:iam::999988887777:role/shop-ci", ...awsSays({ aws_account: "999988887777" }) },
        { sub: "arn:aws:iam::999988887777:role/111122223333", ...awsSays({ aws_account: "999988887777" }) },
      ],
    },
    project: {
      value: "111122223333/role/shop-ci",
      refuses: [
        { sub: "arn:aws:iam::111122223333:user/shop-ci" },
        { sub: "arn:aws:iam::111122223333:role/shop-ci2" },
        { sub: "arn:aws:iam::999988887777:role/shop-ci", ...awsSays({ aws_account: "999988887777" }) },
      ],
    },
    principal_id: {
      value: "AROAEXAMPLE000000001",
      matches: { "signed as": "AROAEXAMPLE000000001:s" },
      refuses: [{}, { "signed as": "AROAEXAMPLE000000002:s" }, { "signed as": "AIDA:AROAEXAMPLE000000001" }],
    },
    organization: { value: "o-1", refuses: [awsSays({ org_id: "o-2" }), awsSays({ org_id: gone })] },
    role: {
      value: "shop-ci",
      refuses: [
        { sub: "arn:aws:iam::111122223333:user/shop-ci" },
        { sub: "arn:aws:iam::111122223333:role/shop-ci/other" },
        { sub: "arn:aws:iam::111122223333:role/Shop-ci" },
      ],
    },
    user: {
      value: "bot",
      matches: { sub: "arn:aws:iam::111122223333:user/people/bot" },
      refuses: [{}, { sub: "arn:aws:iam::111122223333:role/bot" }],
    },
    session_name: {
      value: "build-7",
      matches: { sub: "arn:aws:sts::111122223333:assumed-role/shop-ci/build-7" },
      refuses: [
        {},
        { sub: "arn:aws:sts::111122223333:assumed-role/build-7/x7" },
        { sub: "arn:aws:iam::111122223333:role/build-7" },
      ],
    },
    region: {
      value: "eu-central-1",
      refuses: [awsSays({ source_region: "us-east-1" }), awsSays({ source_region: gone })],
    },
    runner,
  },
};
