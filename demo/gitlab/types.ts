/** GitLab releases whose tokens and hooks differ: `16.11` (fork tokens name the target project), `18.2` (18.2.2: fork
 *  tokens name the fork, and nothing names the project that runs the job), `19.0` (`job_project_*`, signed hooks). */
export type GitlabVersion = "16.11" | "18.2" | "19.0";

export type AccessLevel = "guest" | "planner" | "reporter" | "developer" | "maintainer" | "owner";
export type Visibility = "public" | "internal" | "private";

/** Values of `CI_PIPELINE_SOURCE` that the simulator can start. */
export type PipelineSource =
  | "push"
  | "web"
  | "trigger"
  | "schedule"
  | "api"
  | "pipeline"
  | "parent_pipeline"
  | "merge_request_event"
  | "external"
  | "chat"
  | "webide"
  | "security_orchestration_policy";

export type JobStatus = "created" | "pending" | "running" | "canceling" | "success" | "failed" | "canceled" | "skipped";

export interface User {
  readonly id: number;
  readonly username: string;
  readonly name: string;
  readonly email: string;
  /** False, as by default: hooks show `[REDACTED]` for the e-mail address. */
  readonly emailPublic: boolean;
  /** Paths of the groups the user is a direct member of (`groups_direct`). */
  readonly groups: readonly string[];
  /** Present only when the user opted in to `user_identities`. */
  readonly identities?: readonly { readonly provider: string; readonly extern_uid: string }[];
}

export interface Commit {
  readonly sha: string;
  readonly parents: readonly string[];
  readonly message: string;
  readonly author: User;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
}

export interface Ref {
  sha: string;
  protected: boolean;
}

export interface Environment {
  readonly id: number;
  readonly name: string;
  readonly tier: string;
  readonly createdAt: number;
}

export interface ProtectedEnvironment {
  readonly name: string;
  readonly requiredApprovals: number;
}

export interface Project {
  readonly id: number;
  /** Full path, such as `acme/shop`. Changes with `renameProject`. */
  path: string;
  readonly namespaceId: number;
  readonly visibility: Visibility;
  readonly defaultBranch: string;
  readonly forkedFrom?: Project;
  readonly createdAt: number;
  readonly branches: Map<string, Ref>;
  readonly tags: Map<string, Ref>;
  readonly commits: Map<string, Commit>;
  /** Access by user id; somebody not listed has none. */
  readonly members: Map<number, AccessLevel>;
  readonly environments: Map<string, Environment>;
  readonly protectedEnvironments: Map<string, ProtectedEnvironment>;
  readonly mergeRequests: Map<number, MergeRequest>;
  approvalsRequired: number;
  /** Whether a push to the source branch removes the approvals (GitLab's default for new projects). */
  resetApprovalsOnPush: boolean;
  /** Components of the `sub` claim, starting with `project_path`. */
  subComponents: readonly string[];
}

export interface Approval {
  readonly user: User;
  readonly at: number;
}

/** Lives in its target project; changed only by the simulator's methods. */
/** What a push made of a merge request. */
export interface MergeRequestVersion {
  readonly id: number;
  readonly sha: string;
  readonly baseSha: string;
  readonly createdAt: number;
}

export interface MergeRequest {
  readonly id: number;
  readonly iid: number;
  readonly title: string;
  readonly author: User;
  readonly sourceProject: Project;
  readonly targetProject: Project;
  readonly sourceBranch: string;
  readonly targetBranch: string;
  readonly createdAt: number;
  updatedAt: number;
  state: "opened" | "closed" | "merged";
  /** Head of the source branch. */
  sha: string;
  /** Where the branch left the target. */
  baseSha: string;
  /** Every commit of the latest diff, oldest first: the head and what came before it. */
  commits: readonly string[];
  approvals: readonly Approval[];
  /** One for each push, newest first. */
  versions: readonly MergeRequestVersion[];
  mergeCommitSha: string | undefined;
  squashCommitSha: string | undefined;
  mergedAt: number | undefined;
  mergedBy: User | undefined;
  headPipelineId: number | undefined;
}

export interface PipelineVariable {
  readonly key: string;
  readonly value: string;
  readonly variable_type: "env_var" | "file";
}

export interface Pipeline {
  readonly id: number;
  readonly iid: number;
  /** Where the jobs run, which for a fork's merge request may be the target or the fork. */
  readonly project: Project;
  readonly source: PipelineSource;
  /** What REST and the Job Hook say: a branch, a tag, or `refs/merge-requests/<iid>/head|merge`. */
  readonly ref: string;
  /** What the token and the Pipeline Hook say: for a merge request its source branch. */
  readonly sourceRef: string;
  readonly tag: boolean;
  readonly sha: string;
  readonly beforeSha: string;
  readonly refProtected: boolean;
  readonly mergeRequest?: MergeRequest;
  /** The job that started this child or downstream pipeline. */
  readonly parent?: Job;
  /** Variables it was started with. */
  readonly variables: readonly PipelineVariable[];
  readonly user: User;
  readonly createdAt: number;
  /** All jobs, retried ones included, in order of creation. */
  readonly jobs: Job[];
  status: JobStatus;
  startedAt: number | undefined;
  finishedAt: number | undefined;
}

export interface Runner {
  readonly id: number;
  readonly description: string;
  readonly type: "instance_type" | "group_type" | "project_type";
  readonly hosted: boolean;
  readonly tags: readonly string[];
}

export interface JobEnvironment {
  readonly name: string;
  readonly action: "start" | "prepare" | "stop" | "verify" | "access";
  readonly tier: string;
}

/** Changed only by the simulator's methods. */
export interface Job {
  readonly id: number;
  readonly name: string;
  readonly stage: string;
  readonly pipeline: Pipeline;
  readonly user: User;
  readonly runner: Runner;
  readonly environment?: JobEnvironment;
  readonly timeoutSeconds: number;
  readonly allowFailure: boolean;
  readonly retriesCount: number;
  readonly createdAt: number;
  /** `CI_JOB_TOKEN`: accepted by `GET /job` while the job runs. */
  readonly token: string;
  status: JobStatus;
  /** True once a newer job of the same name took its place. */
  retried: boolean;
  queuedAt: number | undefined;
  startedAt: number | undefined;
  finishedAt: number | undefined;
  failureReason: string | undefined;
  trace: string;
}

export type MergeRequestAction =
  | "open"
  | "close"
  | "reopen"
  | "update"
  | "approval"
  | "approved"
  | "unapproval"
  | "unapproved"
  | "merge";

/** What happened, for those who send hooks. */
export type ModelEvent =
  | { readonly kind: "job"; readonly job: Job }
  | { readonly kind: "pipeline"; readonly pipeline: Pipeline }
  | {
      readonly kind: "merge_request";
      readonly mergeRequest: MergeRequest;
      readonly action: MergeRequestAction;
      readonly user: User;
      /** The head before the push; only for an `update` that changed code. */
      readonly oldrev?: string;
    };

/** The whole state of one simulated instance. */
export interface World {
  readonly version: GitlabVersion;
  readonly now: () => number;
  readonly emit: (event: ModelEvent) => void;
  readonly users: Map<string, User>;
  readonly projects: Map<number, Project>;
  readonly pipelines: Map<number, Pipeline>;
  readonly jobs: Map<number, Job>;
  readonly namespaceIds: Map<string, number>;
  /** The next number of a sequence: ids rise, and never come back. */
  readonly nextId: (sequence: string) => number;
}
