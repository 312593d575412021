import { pullRequestJob } from "../ci/github/claims.fake.ts";
import { forkJob } from "../ci/gitlab/claims.fake.ts";
import type { situations } from "../ci/situations.ts";
import type { IssuerType } from "../core/identity.ts";
import { awsSays, gone, type SelectorCase, uuid } from "./selector-cases.fake.ts";

/** As a token has it that GitLab made before 18.4. */
const before18_4 = {
  job_project_id: gone,
  job_project_path: gone,
  job_namespace_id: gone,
  job_namespace_path: gone,
};
const mergeRequest = { pipeline_source: "merge_request_event", ref: "feature/x", ref_protected: "false" };
const publicPull = { ...pullRequestJob, repository_visibility: "public" };
const deployCi = {
  project_path: "acme/deploy",
  project_id: "77",
  job_project_path: "acme/deploy",
  job_project_id: "77",
};

/** For each situation of each issuer: the job it is about, and jobs it is not. */
export const situationCases: {
  readonly [T in IssuerType]: { readonly [Row in keyof (typeof situations)[T]]: SelectorCase };
} = {
  gitlab: {
    branch: {
      refuses: [
        { ref_protected: "false" },
        { ref: "feature/x" },
        { ref_type: "tag" },
        { pipeline_source: "trigger" },
        { ...mergeRequest, ref: "main", ref_protected: "true" },
        { caused_by: "deploy" },
      ],
    },
    tag: {
      matches: { ref: "v1.2", ref_type: "tag" },
      refuses: [
        { ref: "v1.2" },
        { ref: "v1.2", ref_type: "tag", ref_protected: "false" },
        { ref: "v2.0", ref_type: "tag" },
        { ref: "v1.2/x", ref_type: "tag" },
      ],
    },
    schedule: {
      matches: { pipeline_source: "schedule" },
      refuses: [{}, { pipeline_source: "schedule", ref: "dev" }, { pipeline_source: "Schedule" }],
    },
    merge_request: {
      matches: mergeRequest,
      refuses: [
        {},
        forkJob,
        { ...mergeRequest, ...before18_4 },
        { ...mergeRequest, project_id: "6666", project_path: "mallory/shop" },
      ],
    },
    merge_train: {
      matches: { ...mergeRequest, ref_path: "refs/merge-requests/7/train" },
      refuses: [
        { ...mergeRequest, ref_path: "refs/merge-requests/7/train", ...before18_4 },
        { ...forkJob, ref_path: "refs/merge-requests/7/train" },
        { ref_path: "refs/merge-requests/7/train" },
      ],
    },
    fork: {
      matches: forkJob,
      refuses: [
        { ...forkJob, project_path: "eve/shop", project_id: "6667" },
        { ...forkJob, job_project_path: "acme/web/other", job_project_id: "1043" },
        { ...forkJob, pipeline_source: "push" },
      ],
    },
    fork_18_2: {
      matches: { ...forkJob, ...before18_4 },
      refuses: [forkJob, { ...mergeRequest, ...before18_4 }, { ...forkJob, ...before18_4, pipeline_source: "push" }],
    },
    fork_before: {
      matches: { ...mergeRequest, ...before18_4 },
      refuses: [forkJob, { ...forkJob, ...before18_4 }, { ...before18_4 }],
    },
    child: {
      matches: { pipeline_source: "parent_pipeline" },
      refuses: [
        {},
        { pipeline_source: "parent_pipeline", ...before18_4 },
        { ...forkJob, pipeline_source: "parent_pipeline", ref: "main" },
        { pipeline_source: "pipeline" },
      ],
    },
    downstream: {
      matches: { ...deployCi, pipeline_source: "pipeline" },
      refuses: [deployCi, { pipeline_source: "pipeline" }, { ...deployCi, pipeline_source: "parent_pipeline" }],
    },
    retry: {
      matches: { job_id: "7713" },
      refuses: [
        { job_id: "7713", ref: "dev" },
        { ...mergeRequest, job_id: "7713" },
      ],
    },
    review: {
      refuses: [
        { environment_action: "stop" },
        { environment: "review" },
        { environment: "review/a/b" },
        { environment: gone, environment_action: gone },
        { environment: "production" },
      ],
    },
    production: {
      matches: { environment: "production", environment_protected: "true" },
      refuses: [
        { environment: "production" },
        { environment: "production", environment_protected: gone },
        { environment: "production/eu", environment_protected: "true" },
      ],
    },
    community: {
      matches: { environment: "production" },
      refuses: [
        { environment: "production", ref_protected: "false" },
        { environment: "production", ref: "feature/x" },
        { environment: "production", ...mergeRequest },
        { environment: "staging" },
      ],
    },
    caused: {
      matches: { caused_by: "deploy" },
      refuses: [{}, { caused_by: "other" }, { ...deployCi, caused_by: "deploy" }],
    },
  },
  buildkite: {
    branch: {
      matches: { fork: "no" },
      refuses: [{}, { fork: "yes" }, { fork: "no", build_tag: "main" }, { fork: "no", build_branch: "dev" }],
    },
    tag: {
      matches: { fork: "no", build_tag: "v1.0" },
      refuses: [{ fork: "no", build_branch: "v1.0" }, { build_tag: "v1.0" }, { fork: "no", build_tag: "v2.0" }],
    },
    schedule: {
      matches: { fork: "no", build_source: "schedule" },
      refuses: [{ fork: "no" }, { build_source: "schedule" }, { fork: "no", build_source: "ui" }],
    },
    triggered: {
      matches: { fork: "no", build_source: "trigger_job" },
      refuses: [{ fork: "no" }, { fork: "no", build_source: "api" }],
    },
    fork: {
      matches: { fork: "yes" },
      refuses: [
        { fork: "yes", pipeline_slug: "other" },
        { fork: "yes", organization_slug: "mallory" },
      ],
    },
    step: {
      matches: { fork: "no", job_id: uuid(8) },
      refuses: [{ fork: "no", step_key: "deploy" }, { fork: "no", step_key: null }, { job_id: uuid(8) }],
    },
  },
  github: {
    push: {
      refuses: [
        { ref_protected: "false" },
        { ref_protected: gone },
        { event_name: "workflow_dispatch" },
        { event_name: "pull_request_target" },
        publicPull,
      ],
    },
    tag: {
      matches: { ref: "refs/tags/v1.2", ref_type: "tag", event_name: "release" },
      refuses: [
        { ref: "refs/heads/v1.2" },
        { ref: "refs/tags/v2.0", ref_type: "tag" },
        { ref: "refs/tags/v1.2", ref_type: "tag", event_name: "workflow_run" },
      ],
    },
    schedule: {
      matches: { event_name: "schedule" },
      refuses: [{}, { event_name: "workflow_run" }, { event_name: "scheduled" }],
    },
    pull_request: {
      matches: publicPull,
      refuses: [
        pullRequestJob,
        { ...publicPull, base_ref: "dev" },
        { ...publicPull, event_name: "pull_request_target" },
      ],
    },
    private_pull_request: {
      matches: pullRequestJob,
      refuses: [
        {},
        { ...pullRequestJob, event_name: "pull_request_target" },
        { ...pullRequestJob, repository: "acme/other", repository_id: "2" },
      ],
    },
    pull_request_target: {
      matches: { event_name: "pull_request_target" },
      refuses: [{}, { event_name: "workflow_run" }, pullRequestJob],
    },
    merge_queue: {
      matches: { event_name: "merge_group", ref: "refs/heads/gh-readonly-queue/main/pr-7-a" },
      refuses: [
        { event_name: "push", ref: "refs/heads/gh-readonly-queue/main/pr-7-a" },
        { event_name: "merge_group", ref: "refs/heads/gh-readonly-queue/dev/pr-7-a" },
        { event_name: "merge_group" },
      ],
    },
    environment: {
      refuses: [{ environment: gone }, { environment: "production2" }, { event_name: "pull_request_target" }],
    },
    reusable: {
      matches: { job_workflow_ref: "acme/ci/.github/workflows/deploy.yml@refs/tags/v2" },
      refuses: [
        {},
        { job_workflow_ref: "acme/ci/.github/workflows/deploy.yml@refs/heads/v2" },
        { job_workflow_ref: "mallory/ci/.github/workflows/deploy.yml@refs/tags/v2" },
        {
          job_workflow_ref: "acme/ci/.github/workflows/deploy.yml@refs/tags/v2",
          repository: "mallory/shop",
          repository_owner: "mallory",
        },
      ],
    },
    rerun: { refuses: [{ run_attempt: "2" }, { run_attempt: "10" }] },
  },
  oidc: {
    branch: { refuses: [{ branch: "refs/tags/main" }, { branch: gone }, { branch: "dev" }] },
    unknown_fork: {
      matches: { fork: "unknown" },
      refuses: [
        { fork: "unknown", name: "acme/other" },
        { fork: "unknown", name: "mallory/shop" },
      ],
    },
  },
  aws: {
    role: {
      refuses: [
        { sub: "arn:aws:iam::111122223333:role/other" },
        { sub: "arn:aws:iam::999988887777:role/shop-ci", ...awsSays({ aws_account: "999988887777" }) },
        { fork: "unknown" },
      ],
    },
    session: {
      matches: { sub: "arn:aws:sts::111122223333:assumed-role/shop-ci/AWSCodeBuild-7" },
      refuses: [
        {},
        { sub: "arn:aws:sts::111122223333:assumed-role/shop-ci/me" },
        { sub: "arn:aws:sts::111122223333:assumed-role/other/AWSCodeBuild-7" },
      ],
    },
  },
};
