import type { IssuerType } from "../core/identity.ts";

/** A selector's fields as policy writes them, below the issuer. */
export type WrittenSelector = Readonly<Record<string, string | boolean | readonly string[]>>;

/** One kind of job, what its CI says of it, and a selector for it. Each is a test in `src/server/selectors.test.ts`. */
export interface Situation {
  readonly what: string;
  /** What the token, or the API, says. */
  readonly says: string;
  readonly selector: WrittenSelector;
}

const gitlab = {
  branch: {
    what: "a push to a protected branch",
    says: "source push, ref_protected true",
    selector: { project: "acme/web/shop", ref: "main", ref_protected: true, source: "push" },
  },
  tag: {
    what: "a tag",
    says: "ref is the tag, ref_type tag; a selector with ref alone means branches",
    selector: { project: "acme/web/shop", ref: "v1.*", ref_type: "tag", ref_protected: true },
  },
  schedule: {
    what: "a schedule",
    says: "source schedule; ref is the branch it runs on, the user its owner",
    selector: { project: "acme/web/shop", source: "schedule", ref: "main" },
  },
  merge_request: {
    what: "a merge request's pipeline, from 18.4",
    says: "source merge_request_event, ref the source branch; job_project equals project",
    selector: { project: "acme/web/shop", source: "merge_request_event" },
  },
  merge_train: {
    what: "a merge train, from 18.4",
    says: "source merge_request_event, ref_path refs/merge-requests/<iid>/train",
    selector: { project: "acme/web/shop", source: "merge_request_event", ref: "feature/*" },
  },
  fork: {
    what: "a fork's merge request in the target project, from 18.4",
    says: "project is the fork's, job_project the target's: a project selector must name both; in no group unless it is above both",
    selector: { project: ["acme/web/shop", "mallory/shop"], source: "merge_request_event", fork: true },
  },
  fork_18_2: {
    what: "the same, 18.2.2 to 18.3",
    says: "project is the fork's and nothing names the target: fork unknown",
    selector: { project: "mallory/shop", source: "merge_request_event", fork: true },
  },
  fork_before: {
    what: "the same, before 18.2.2; every merge request's pipeline looks like it",
    says: "project is the target's and nothing names the fork: fork unknown",
    selector: { project: "acme/web/shop", source: "merge_request_event", fork: true },
  },
  child: {
    what: "a child pipeline, from 18.4",
    says: "source parent_pipeline; before 18.4 its parent may be a fork's, so fork is unknown",
    selector: { project: "acme/web/shop", source: "parent_pipeline", ref: "main" },
  },
  downstream: {
    what: "a downstream pipeline of another project",
    says: "source pipeline; project is the downstream one, and inherits nothing of what started it",
    selector: { project: "acme/deploy", source: "pipeline" },
  },
  retry: {
    what: "a retried job",
    says: "a new job id and all else alike: a session of its own",
    selector: { project: "acme/web/shop", ref: "main" },
  },
  review: {
    what: "a review environment, while it is started",
    says: "environment as .gitlab-ci.yml names it, environment_action start",
    selector: { project: "acme/web/shop", environment: "review/*", environment_action: "start" },
  },
  production: {
    what: "a protected environment (Premium)",
    says: "environment_protected true",
    selector: { project: "acme/web/shop", environment: "production", environment_protected: true },
  },
  community: {
    what: "an environment of the Community Edition",
    says: "environment_protected is always false; a protected ref is what guards it there",
    selector: { project: "acme/web/shop", environment: "production", ref: "main", ref_protected: true },
  },
  caused: {
    what: "a pipeline that an event of Wayleave started",
    says: "the broker's own records say so; without caused_by such a job matches no role",
    selector: { project: "acme/web/shop", caused_by: "deploy" },
  },
} as const satisfies Readonly<Record<string, Situation>>;

const buildkite = {
  branch: {
    what: "a branch",
    says: "build_branch; whoever may create builds can name any. Fork unknown until the API was asked",
    selector: { organization: "acme", pipeline: "shop-e2e", ref: "main" },
  },
  tag: {
    what: "a tag",
    says: "build_tag is there",
    selector: { organization: "acme", pipeline: "shop-e2e", ref: "v1.*", ref_type: "tag" },
  },
  schedule: {
    what: "a schedule",
    says: "build_source schedule",
    selector: { organization: "acme", pipeline: "shop-e2e", source: "schedule" },
  },
  triggered: {
    what: "a build that another pipeline triggered",
    says: "build_source trigger_job; it inherits nothing",
    selector: { organization: "acme", pipeline: "shop-e2e", source: "trigger_job" },
  },
  fork: {
    what: "a build that is a fork's, or may be",
    says: "yes or no once the API was asked, unknown without",
    selector: { organization: "acme", pipeline: "shop-e2e", fork: true },
  },
  step: {
    what: "one step, also when it is retried",
    says: "step_key; a retry has a new job id",
    selector: { organization: "acme", pipeline: "shop-e2e", step: "smoke" },
  },
} as const satisfies Readonly<Record<string, Situation>>;

const github = {
  push: {
    what: "a push to a protected branch",
    says: "event_name push, ref_protected true",
    selector: { repository: "acme/shop", ref: "main", ref_protected: true, event_name: "push" },
  },
  tag: {
    what: "a tag or a release",
    says: "ref is the tag, ref_type tag",
    selector: { repository: "acme/shop", ref: "v1.*", ref_type: "tag" },
  },
  schedule: {
    what: "a schedule",
    says: "event_name schedule, on the default branch",
    selector: { repository: "acme/shop", event_name: "schedule" },
  },
  pull_request: {
    what: "a pull request of a public repository",
    says: "ref refs/pull/<number>/merge; forks get no token",
    selector: { repository: "acme/shop", event_name: "pull_request", base_ref: "main" },
  },
  private_pull_request: {
    what: "a pull request of a private repository",
    says: "a setting can give forks tokens: fork unknown until the API was asked",
    selector: { repository: "acme/shop", event_name: "pull_request", fork: true },
  },
  pull_request_target: {
    what: "pull_request_target, workflow_run, issue_comment and the like",
    says: "the repository's rights, and perhaps somebody else's code: fork unknown, whatever the API says",
    selector: { repository: "acme/shop", event_name: "pull_request_target", fork: true },
  },
  merge_queue: {
    what: "a merge queue",
    says: "event_name merge_group, ref gh-readonly-queue/<branch>/…",
    selector: { repository: "acme/shop", event_name: "merge_group", ref: "gh-readonly-queue/main/*" },
  },
  environment: {
    what: "an environment",
    says: "environment; its protection rules were passed before the job got its token",
    selector: { repository: "acme/shop", environment: "production" },
  },
  reusable: {
    what: "a job of a reusable workflow",
    says: "job_workflow_ref names the workflow, repository still the caller",
    selector: { repository_owner: "acme", job_workflow_ref: "acme/ci/.github/workflows/deploy.yml@refs/tags/v2" },
  },
  rerun: {
    what: "a first attempt, and no rerun",
    says: "run_attempt",
    selector: { repository: "acme/shop", run_attempt: "1" },
  },
} as const satisfies Readonly<Record<string, Situation>>;

const oidc = {
  branch: {
    what: "a branch, where `ref` is mapped",
    says: "refs/heads/ and refs/tags/ are taken off and tell the type",
    selector: { project: "acme/shop", ref: "main" },
  },
  unknown_fork: {
    what: "an issuer whose configuration does not say `forks: none`",
    says: "fork unknown",
    selector: { project: "acme/shop", fork: true },
  },
} as const satisfies Readonly<Record<string, Situation>>;

const aws = {
  role: {
    what: "a role, whichever way it proved itself",
    says: "the account's id and the role's name, without its path",
    selector: { account: "111122223333", role: "shop-ci" },
  },
  session: {
    what: "one session of a role",
    says: "session_name, as whoever assumed the role chose it; of a signed request only",
    selector: { account: "111122223333", role: "shop-ci", session_name: "AWSCodeBuild-*" },
  },
} as const satisfies Readonly<Record<string, Situation>>;

/** By issuer type and a word of our own. */
export const situations = { gitlab, buildkite, github, oidc, aws } as const satisfies Readonly<
  Record<IssuerType, Readonly<Record<string, Situation>>>
>;
