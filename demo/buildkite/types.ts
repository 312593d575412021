export type BuildSource = "ui" | "api" | "webhook" | "trigger_job" | "schedule";

/** Job states as REST and webhooks show them. */
export type JobState =
  | "scheduled"
  | "running"
  | "canceling"
  | "timing_out"
  | "passed"
  | "failed"
  | "canceled"
  | "timed_out";

export interface Organization {
  readonly id: string;
  readonly slug: string;
}

export interface Pipeline {
  readonly id: string;
  readonly slug: string;
  /** Where the pipeline's code lives: what a build's pull request is compared with. */
  readonly repository: string;
  readonly organization: Organization;
  /** Branches it builds; any when absent. */
  readonly branches?: readonly string[];
  /** Steps of a build that was created by the API. */
  readonly steps: readonly string[];
  readonly cluster?: { readonly id: string; readonly name: string };
  readonly queue?: { readonly id: string; readonly key: string };
}

export interface PullRequest {
  readonly id: string;
  readonly base: string;
  /** The repository the change comes from: a fork's when it differs from the pipeline's. */
  readonly repository: string;
}

/** Changed only by the simulator's methods. */
export interface Build {
  readonly id: string;
  readonly number: number;
  readonly pipeline: Pipeline;
  readonly branch: string;
  readonly tag: string | null;
  readonly commit: string;
  readonly message: string;
  readonly source: BuildSource;
  readonly creator: { readonly id: string; readonly name: string; readonly email: string };
  readonly pullRequest: PullRequest | null;
  readonly createdAt: number;
  /** Given when it was created; nothing changes it. */
  readonly env: Readonly<Record<string, string>>;
  /** Steps may add to it. */
  readonly metaData: Map<string, string>;
  /** Retried jobs included, in order of creation. */
  readonly jobs: Job[];
  state: "scheduled" | "running" | "passed" | "failed" | "canceled";
  startedAt: number | undefined;
  finishedAt: number | undefined;
}

export interface Agent {
  readonly id: string;
  readonly name: string;
  readonly hosted: boolean;
  /** Self-declared by whoever starts the agent. */
  readonly tags: Readonly<Record<string, string>>;
}

/** Changed only by the simulator's methods. */
export interface Job {
  readonly id: string;
  readonly name: string;
  readonly stepKey: string | null;
  readonly build: Build;
  readonly agent: Agent;
  readonly createdAt: number;
  readonly retriesCount: number;
  /** `BUILDKITE_AGENT_ACCESS_TOKEN`: asks for OIDC tokens while the job runs. */
  readonly accessToken: string;
  state: JobState;
  exitStatus: number | null;
  startedAt: number | undefined;
  finishedAt: number | undefined;
  /** The job that took this one's place. */
  retriedIn: string | undefined;
}

export type BuildkiteEvent =
  | { readonly name: "job.started" | "job.finished"; readonly job: Job; readonly build: Build }
  | { readonly name: "build.finished"; readonly build: Build };

/** The whole state of one simulated Buildkite. */
export interface World {
  readonly organization: Organization;
  readonly now: () => number;
  readonly emit: (event: BuildkiteEvent) => void;
  readonly pipelines: Map<string, Pipeline>;
  readonly builds: Build[];
  readonly jobs: Map<string, Job>;
}
