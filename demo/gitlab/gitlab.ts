import { randomUUID } from "node:crypto";
import { type AccessTokenOptions, createAccessTokens } from "./access.ts";
import { answerApi } from "./api.ts";
import { createTag, type PushOptions, protectBranch, pushCommit } from "./branches.ts";
import { createDeliveries } from "./deliveries.ts";
import { createHooks, type GitlabDelivery, type Hook, type HookOptions } from "./hooks.ts";
import { humanClaims, type IdTokenOptions, jobClaims } from "./id-token.ts";
import { type Answer, type ListenOptions, listen, type Outage, type RequestLine } from "./listener.ts";
import {
  approve,
  closeMergeRequest,
  type MergeMethod,
  type MergeRequestOptions,
  mergeMergeRequest,
  openMergeRequest,
  reopenMergeRequest,
  unapprove,
} from "./merge-requests.ts";
import {
  cancelJob,
  failJob,
  finishCancel,
  type PipelineOptions,
  retryJob,
  runJob,
  startPipeline,
  succeedJob,
} from "./pipelines.ts";
import { createProject, forkProject, type ProjectOptions, protectEnvironment, renameProject } from "./projects.ts";
import { createSigningKey } from "./signing-key.ts";
import { createTriggerTokens, type TriggerTokenOptions } from "./triggers.ts";
import type { GitlabVersion, Job, MergeRequest, ModelEvent, Pipeline, Project, User, World } from "./types.ts";
import { createUser, type UserOptions } from "./users.ts";

export interface GitlabOptions extends ListenOptions {
  /** Milliseconds since the epoch: the only clock of the instance. */
  readonly now: () => number;
  /** Default `19.0`. */
  readonly version?: GitlabVersion;
  /** Relative URL root, such as `/gitlab`. Default: none. */
  readonly root?: string;
  /** Where others reach the instance, root included, when that is not the bound address. It is the issuer, exactly. */
  readonly externalUrl?: string;
  /** PEM of the CA that signed the certificates of HTTPS webhook receivers, trusted instead of the system's. */
  readonly hookCa?: string;
}

/** What the REST API is to answer instead of the truth. */
export type ApiFault =
  | { readonly status: 429; readonly retryAfterSeconds: number }
  | { readonly status: 500 }
  /** The request takes effect, and the connection breaks before the answer. */
  | { readonly status: "answer_lost" };

/** One simulated instance. What is impossible in GitLab (merging twice, finishing a job that never ran) is a TypeError. */
export interface Gitlab {
  /** External URL, without a trailing slash: the `iss` of every token. */
  readonly issuer: string;
  /** Where it listens, root included: `issuer` unless that was configured. */
  readonly localUrl: string;
  readonly version: GitlabVersion;
  /** Every request so far, refused and failed ones too. */
  readonly requests: readonly RequestLine[];
  /** How often each part was asked, answered or not. */
  readonly fetches: { readonly discovery: number; readonly jwks: number; readonly api: number };
  createUser(options: UserOptions): User;
  createProject(options: ProjectOptions): Project;
  forkProject(parent: Project, options: ProjectOptions): Project;
  renameProject(project: Project, path: string): void;
  protectBranch(project: Project, name: string, isProtected?: boolean): void;
  createTag(project: Project, name: string, options?: { sha?: string; protected?: boolean }): void;
  protectEnvironment(project: Project, name: string, requiredApprovals?: number): void;
  /** The new head's sha. Moves the open merge requests from that branch and removes their approvals. */
  pushCommit(project: Project, ref: string, options?: PushOptions): string;
  openMergeRequest(target: Project, options: MergeRequestOptions): MergeRequest;
  approve(mergeRequest: MergeRequest, user: User): void;
  unapprove(mergeRequest: MergeRequest, user: User): void;
  mergeMergeRequest(mergeRequest: MergeRequest, options: { user: User; method?: MergeMethod }): MergeRequest;
  closeMergeRequest(mergeRequest: MergeRequest, user: User): void;
  reopenMergeRequest(mergeRequest: MergeRequest, user: User): void;
  /** Jobs start as `created`; `project` is where they run. */
  startPipeline(project: Project, options: PipelineOptions): Pipeline;
  /** Every pipeline so far, in order of creation. */
  pipelines(): readonly Pipeline[];
  runJob(job: Job): void;
  succeedJob(job: Job): void;
  failJob(job: Job, reason?: string): void;
  cancelJob(job: Job): void;
  finishCancel(job: Job): void;
  retryJob(job: Job, user?: User): Job;
  appendTrace(job: Job, text: string): void;
  /** One entry of the job's `id_tokens:`, signed. The job must have been handed to a runner; each call has its own
   *  `jti`, so keep the string as the job would. */
  idToken(job: Job, options: IdTokenOptions): Promise<string>;
  /** What a person gets who signs in to an OAuth application of this instance: same issuer, other key, no job. */
  humanToken(user: User, options: { aud: string }): Promise<string>;
  /** Replaces the key that signs job tokens; the old one leaves the JWKS at once. */
  rotateKey(): Promise<void>;
  /** Discovery, JWKS and API at once: `bad_gateway` answers 502, `dropped` closes connections unanswered. */
  setReachable(reachable: boolean, how?: Outage): void;
  /** Makes every API request (not discovery, not JWKS) fail, until called with `undefined`. */
  setApiFault(fault: ApiFault | undefined): void;
  createAccessToken(options?: AccessTokenOptions): string;
  /** A new pipeline trigger token (`glptt-…`) of a project, acting as `owner`. */
  createTriggerToken(project: Project, options: TriggerTokenOptions): string;
  revokeAccessToken(token: string): void;
  addHook(options: HookOptions): Hook;
  removeHook(hook: Hook): void;
  /** Every delivery so far, in order of the events. */
  readonly deliveries: readonly GitlabDelivery[];
  /** Keeps deliveries back until `releaseHooks`. */
  holdHooks(): void;
  /** Sends the held ones one by one in the order given back; left out is lost, named twice is doubled. */
  releaseHooks(arrange?: (held: readonly GitlabDelivery[]) => readonly GitlabDelivery[]): Promise<void>;
  /** The Resend button: same body, same `Idempotency-Key`, new timestamp. */
  redeliver(delivery: GitlabDelivery): Promise<void>;
  /** Resolves when no delivery is under way; held ones stay held. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** Starts a GitLab in this process: issuer, JWKS, REST API and webhooks over one in-memory world. */
export async function startGitlab(options: GitlabOptions): Promise<Gitlab> {
  const { now, version = "19.0", root = "" } = options;
  if (!/^(\/[\w-]+)*$/.test(root)) throw new TypeError("root is empty, or a path without a slash at its end");
  if (options.externalUrl?.endsWith("/")) throw new TypeError("externalUrl has no slash at its end");
  const [ciKey, humanKey] = await Promise.all([createSigningKey(), createSigningKey()]);
  const deliveries = createDeliveries(options.hookCa);
  const tokens = createAccessTokens();
  const triggers = createTriggerTokens(() => ({ world, url: issuer }));
  const hooks = createHooks(deliveries, () => ({ url: issuer, version }), now);
  const world = createWorld(version, now, hooks.dispatch);
  let fault: ApiFault | undefined;
  const listener = await listen(options, (request) => {
    if (!request.path.startsWith(`${root}/`)) return notFound;
    const path = request.path.slice(root.length);
    if (path === paths.discovery) return discovery(issuer);
    if (path === paths.jwks) return { status: 200, headers: cacheable, body: { keys: [ciKey.jwk, humanKey.jwk] } };
    if (!path.startsWith(paths.api)) return notFound;
    if (fault !== undefined && fault.status !== "answer_lost") return faulty(fault, now());
    const answer = answerApi({ world, tokens, triggers, url: issuer }, path.slice(paths.api.length - 1), request);
    return fault === undefined ? answer : answer.then(() => lost);
  });
  const localUrl = `${listener.origin}${root}`;
  const issuer = options.externalUrl ?? localUrl;
  const minting = (ms: number) => ({ version, issuer, iat: Math.floor(ms / 1000), jti: randomUUID() });
  const count = (prefix: string) => listener.requests.filter(({ path }) => path.startsWith(root + prefix)).length;

  return {
    issuer,
    localUrl,
    version,
    requests: listener.requests,
    get fetches() {
      return { discovery: count(paths.discovery), jwks: count(paths.jwks), api: count(paths.api) };
    },
    ...actions(world),
    idToken: async (job, { aud, issuedAt = job.startedAt, claims }) => {
      if (issuedAt === undefined) throw new TypeError(`job ${job.id} was never handed to a runner`);
      return ciKey.sign({ ...jobClaims(job, aud, minting(issuedAt)), ...claims });
    },
    humanToken: (user, { aud }) => humanKey.sign(humanClaims(user, aud, minting(now()))),
    rotateKey: () => ciKey.rotate(),
    setReachable: (reachable, how = "bad_gateway") => listener.setOutage(reachable ? undefined : how),
    setApiFault: (next) => {
      fault = next;
    },
    createAccessToken: tokens.create,
    createTriggerToken: triggers.create,
    revokeAccessToken: tokens.revoke,
    addHook: hooks.add,
    removeHook: hooks.remove,
    deliveries: hooks.deliveries,
    holdHooks: deliveries.hold,
    releaseHooks: (arrange) =>
      deliveries.release(arrange && ((held) => arrange(hooks.deliveries.filter((entry) => held.includes(entry))))),
    redeliver: deliveries.redeliver,
    flush: deliveries.flush,
    close: async () => {
      await Promise.all([listener.close(), deliveries.close()]);
    },
  };
}

const paths = {
  discovery: "/.well-known/openid-configuration",
  jwks: "/oauth/discovery/keys",
  api: "/api/v4/",
} as const;
const notFound: Answer = { status: 404, body: { error: "404 Not Found" } };
const cacheable = { "cache-control": "public, max-age=86400, must-revalidate, no-transform" };
/** Where ids begin, so that a project, a pipeline and a job are never mistaken for one another in a test. */
const firstIds: Readonly<Record<string, number>> = {
  project: 1042,
  namespace: 72,
  pipeline: 5101,
  job: 7712,
  merge_request: 9001,
};

function createWorld(version: GitlabVersion, now: () => number, emit: (event: ModelEvent) => void): World {
  const next = new Map(Object.entries(firstIds));
  return {
    version,
    now,
    emit,
    users: new Map(),
    projects: new Map(),
    pipelines: new Map(),
    jobs: new Map(),
    namespaceIds: new Map(),
    nextId: (sequence) => {
      const id = next.get(sequence) ?? 1;
      next.set(sequence, id + 1);
      return id;
    },
  };
}

function actions(world: World) {
  const on =
    <A extends unknown[], R>(act: (world: World, ...rest: A) => R) =>
    (...rest: A): R =>
      act(world, ...rest);
  return {
    createUser: on(createUser),
    createProject: on(createProject),
    forkProject: on(forkProject),
    renameProject: on(renameProject),
    protectBranch,
    createTag,
    protectEnvironment,
    pushCommit: on(pushCommit),
    openMergeRequest: on(openMergeRequest),
    approve: on(approve),
    unapprove: on(unapprove),
    mergeMergeRequest: on(mergeMergeRequest),
    closeMergeRequest: on(closeMergeRequest),
    reopenMergeRequest: on(reopenMergeRequest),
    startPipeline: on(startPipeline),
    pipelines: () => [...world.pipelines.values()],
    runJob: on(runJob),
    succeedJob: on(succeedJob),
    failJob: on(failJob),
    cancelJob: on(cancelJob),
    finishCancel: on(finishCancel),
    retryJob: on(retryJob),
    appendTrace: (job: Job, text: string) => {
      job.trace += text;
    },
  };
}

function discovery(issuer: string): Answer {
  return {
    status: 200,
    headers: cacheable,
    body: {
      issuer,
      authorization_endpoint: `${issuer}/oauth/authorize`,
      token_endpoint: `${issuer}/oauth/token`,
      userinfo_endpoint: `${issuer}/oauth/userinfo`,
      jwks_uri: `${issuer}${paths.jwks}`,
      scopes_supported: ["api", "read_api", "openid", "profile", "email"],
      response_types_supported: ["code"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: ["RS256"],
    },
  };
}

/** The listener breaks the connection. */
const lost: Answer = { status: 0, body: "" };

function faulty(fault: Exclude<ApiFault, { status: "answer_lost" }>, nowMs: number): Answer {
  if (fault.status === 500) return { status: 500, body: { message: "500 Internal Server Error" } };
  const headers = {
    "retry-after": String(fault.retryAfterSeconds),
    "ratelimit-limit": "2000",
    "ratelimit-remaining": "0",
    "ratelimit-reset": String(Math.floor(nowMs / 1000) + fault.retryAfterSeconds),
  };
  return { status: 429, headers, body: "Retry later\n" };
}
