/** The types of CI, by the word configuration and selectors use; each has one folder in `src/ci/`. */
export const issuerTypes = ["gitlab", "buildkite", "github", "oidc", "aws"] as const;
export type IssuerType = (typeof issuerTypes)[number];

/** Who acts. `agent` is set by a selector or a verified actor token, never by the caller's silence. */
export type Kind = "job" | "agent" | "person";

/** Whether the job runs code from a fork. `unknown` is treated as `yes` by every selector that does not say `fork: true`. */
export type ForkStatus = "yes" | "no" | "unknown";

/** What a selector can compare: a list means that every value must match (`project`) or that any may (`group`): see SelectorField. */
export type AttributeValue = string | boolean | readonly string[];

/** The verified, normalised claims of one job. Everything in it comes from a verified token or from the CI's API. */
export interface JobIdentity {
  /** Configured issuer name, `[a-z0-9-]{1,16}`. */
  readonly issuer: string;
  readonly issuerType: IssuerType;
  readonly kind: Kind;
  /** The project whose code runs. Ids are strings whatever the CI sends. For Buildkite: the pipeline. */
  readonly project: { readonly id: string; readonly path: string };
  readonly pipelineId: string;
  /** `name` is present only when the CI's API said it; tokens do not carry it everywhere. */
  readonly job: {
    readonly id: string;
    readonly name?: string;
    /** The token names only a run: other jobs of it have this id too, so that an end of one says nothing of the others. */
    readonly ofRun?: true;
  };
  readonly ref?: string;
  readonly refType?: "branch" | "tag";
  readonly sha?: string;
  readonly environment?: string;
  /** The person who triggered the pipeline. `login` is mutable: for display. */
  readonly triggeredBy?: { readonly id: string; readonly login?: string };
  /** The runner as the CI claims it; `spiffeId` where it proved itself by an SVID of its own. */
  readonly runner?: { readonly id?: string; readonly environment?: string; readonly spiffeId?: string };
  readonly fork: ForkStatus;
  /** The event that started the pipeline. Only the broker's own durable knowledge says so, never a claim. */
  readonly cause?: Cause;
  /** By selector field name (`project`, `ref`, `environment`, …); an absent claim is an absent key. */
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  /** By template name without `${}`: `job.project_id`, `environment.slug`, … Raw values; filling checks them. */
  readonly variables: Readonly<Record<string, string>>;
}

/** Which message of which job made Wayleave start a pipeline. */
export interface Cause {
  /** Name of the event in policy. */
  readonly event: string;
  /** The session that sent the message. */
  readonly session: string;
  /** Its job: see `jobKey`. */
  readonly job: string;
  /** Path of its project. */
  readonly project: string;
  /** How many events led here: 1 where the causing job's own pipeline was started by none. */
  readonly depth: number;
}

/** One field a selector may name, as a CI provider declares it. */
export interface SelectorField {
  readonly type: "string" | "boolean";
  /** `one`: scalar. `every`: a list of which each value must match. `any`: a list of which one must match. */
  readonly arity: "one" | "every" | "any";
  /** True for fields that name a project, group, pipeline or organization: a `for` selector needs one of these. */
  readonly anchors: boolean;
  readonly doc: string;
}

/** Selector fields per issuer type; policy takes this as data so that it need not know any CI. */
export type Vocabulary = Readonly<Partial<Record<IssuerType, Readonly<Record<string, SelectorField>>>>>;

/** The stable key of a job: a session, a tombstone and a webhook meet here. */
export function jobKey(issuer: string, jobId: string): string {
  return `${issuer}/${jobId}`;
}
