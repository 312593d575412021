import type { BuildStatus } from "../core/build-status.ts";
import type { FactValue } from "../core/fact.ts";
import type { IssuerType, JobIdentity, SelectorField } from "../core/identity.ts";
import type { PipelineStarter } from "../core/pipeline-start.ts";

/** Where an issuer stands: its configured name and its exact `iss`. */
export interface IssuerRef {
  readonly name: string;
  readonly url: string;
}

/** What a verified webhook says. A hook on its own word may only end or narrow. */
export type HookEvent =
  | {
      readonly kind: "job";
      readonly projectId: string;
      /** Project path as the hook shows it, for records only. */
      readonly projectPath?: string;
      readonly jobId: string;
      /** The CI's own status word. */
      readonly status: string;
      /** True where the status can never change again. */
      readonly over: boolean;
    }
  /** Something about a merge request changed: facts of its sessions are to be read again. */
  | { readonly kind: "change"; readonly projectId: string; readonly iid: string; readonly sha?: string }
  | { readonly kind: "ignored"; readonly event: string };

/** A webhook as it arrived. Header names are lower case; a repeated header is an array. */
export interface HookRequest {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Exactly the bytes received. */
  readonly body: Uint8Array;
}

/** Secrets one registered webhook may be authenticated by; at least one is set. */
export interface HookSecrets {
  /** Plaintext shared token (`X-Gitlab-Token`, `X-Buildkite-Token`). */
  readonly token?: string;
  /** Signing secret (`whsec_…` for GitLab; the token itself signs for Buildkite). */
  readonly signing?: string;
}

/** What the CI's API says of a job. */
export interface JobStatus {
  /** The CI's own status word. */
  readonly status: string;
  /** False as soon as no command of the job can still be meant to run. */
  readonly running: boolean;
  readonly over: boolean;
  readonly name?: string;
  /** Settled fork status, where the API can say what the token cannot (Buildkite). */
  readonly fork?: "yes" | "no";
}

/** Reads of the CI's API. Every method rejects `ci_api_unreachable` when there is no usable answer. */
export interface CiApi {
  jobStatus(identity: JobIdentity): Promise<JobStatus>;
  /** The named facts that could be established; a name left out is missing. */
  facts(identity: JobIdentity, names: readonly string[]): Promise<Readonly<Record<string, FactValue>>>;
  /** Id of the project that has this path now; undefined where the credential sees none. */
  projectId?(path: string): Promise<string | undefined>;
}

export interface CiApiOptions {
  /** API base, `https://gitlab.example/api/v4`. */
  readonly baseUrl: string;
  readonly token: string;
  readonly fetch: typeof fetch;
  /** Per request, ms. */
  readonly timeoutMs: number;
}

/** What a CI's pipelines are started and found with; each CI takes the credentials it knows. */
export interface StarterOptions extends Omit<CiApiOptions, "token"> {
  /** Credentials that are good for one project each, by its path. */
  readonly projects: Readonly<Record<string, string>>;
  /** One that is good for all. */
  readonly token?: string;
  /** The read credential of `api`. */
  readonly readToken?: string;
  /** ms since the epoch. */
  now(): number;
}

/** One CI, as data and small functions. Signature, `iss`, `aud`, `exp`, `nbf` and replay are checked elsewhere, once. */
export interface Provider {
  readonly type: IssuerType;
  /** `iss` where configuration names no other. */
  readonly defaultIssuerUrl?: string;
  /** JWS algorithms this CI signs with; nothing else is accepted. */
  readonly algorithms: readonly string[];
  /** Longest acceptable `exp - iat`, seconds: a token that claims more is refused. */
  readonly maxTokenLifeSeconds: number;
  /** True where a job can ask for a fresh token (Buildkite): the session may outlive one token. */
  readonly renewable: boolean;
  /** Selector fields, `project`, `ref`, …; the JSON Schema and the checker come from this table. */
  readonly fields: Readonly<Record<string, SelectorField>>;
  /** Template variables it fills, with a word of help each. */
  readonly variables: Readonly<Record<string, string>>;
  /**
   * The job identity in a verified token's payload. Every claim that carries trust is required and of its exact type.
   * Throws `identity_refused`, naming the claim.
   */
  identity(payload: Readonly<Record<string, unknown>>, issuer: IssuerRef): JobIdentity;
  /** Facts that the token itself states, by name: good without an API credential, and for as long as the session. */
  claimFacts?(identity: JobIdentity): Readonly<Record<string, FactValue>>;
  /** Its webhooks; absent where it has none. */
  readonly hooks?: HookReader;
  /** Its API; absent where it has none. */
  readonly api?: {
    /** API base for an issuer URL, where configuration names none. */
    url(issuerUrl: string): string;
    connect(options: CiApiOptions): CiApi;
    /** Starts pipelines there; absent where nothing of ours does. */
    starter?(options: StarterOptions): PipelineStarter;
  };
}

export interface HookReader {
  /**
   * The authenticated webhook's meaning. Throws `webhook_refused` (authentication) or `webhook_malformed`.
   * `nowMs` bounds signed timestamps to ± 5 minutes. Not checked here: that the project is one the secret is registered for.
   */
  read(
    request: HookRequest,
    secrets: HookSecrets,
    nowMs: number,
  ): { readonly event: HookEvent; readonly delivery?: string };
  /** The status that an authenticated webhook's body tells of; undefined for every other body. */
  buildStatus(body: unknown): BuildStatus | undefined;
}
