/** One pipeline to be started at a CI. */
export interface PipelineStart {
  /** Full path or id as policy writes it; for Buildkite `organization/pipeline`. */
  readonly project: string;
  /** The id that policy pins the path to. */
  readonly projectId?: string;
  readonly ref: string;
  /** `evt_…`: the start's own secret name, by which its pipeline is found again. */
  readonly cause: string;
  readonly variables: Readonly<Record<string, string>>;
}

/** A pipeline by the ids that its jobs' tokens carry; for Buildkite the pipeline's UUID and the build's number. */
export interface StartedPipeline {
  readonly projectId: string;
  readonly pipelineId: string;
}

/** What became of one attempt. Details are one line, without tokens and answers' bodies. */
export type StartOutcome =
  | { readonly kind: "started"; readonly pipeline: StartedPipeline }
  /** There is none, and the same request would be refused again. */
  | { readonly kind: "refused"; readonly detail: string }
  /** There is none; it may be asked for again, after so many ms where the CI said so. */
  | { readonly kind: "later"; readonly afterMs?: number; readonly detail: string }
  /** No usable answer: there may be one, now or in a moment. */
  | { readonly kind: "unknown"; readonly afterMs?: number; readonly detail: string };

export type FindOutcome =
  | { readonly kind: "found"; readonly pipeline: StartedPipeline }
  | { readonly kind: "none" }
  /** It cannot be said, for now or, where `final`, with this credential. */
  | { readonly kind: "unknown"; readonly afterMs?: number; readonly final?: true; readonly detail: string };

/** Starts pipelines at one configured CI. Nothing here rejects: what fails is `unknown`. */
export interface PipelineStarter {
  /** The word for what starts such pipelines, as the CI's tokens have it (`trigger`, `api`). */
  readonly source: string;
  start(start: PipelineStart): Promise<StartOutcome>;
  /** Looks for the pipeline of an earlier attempt; `since` is when it began, ms since the epoch. */
  find(wanted: Omit<PipelineStart, "variables"> & { readonly since: number }): Promise<FindOutcome>;
}

/** The variable that every started pipeline has, naming its cause. */
export const causeVariable = "WAYLEAVE_CAUSE";
