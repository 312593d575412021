import { z } from "zod";
import { causeVariable, type FindOutcome, type PipelineStarter, type StartOutcome } from "../../core/pipeline-start.ts";
import { type ApiReply, type CallApi, createCallApi, withoutPipeline } from "../call-api.ts";

export interface GitlabStartOptions {
  /** API base, `https://gitlab.example/api/v4`. */
  readonly baseUrl: string;
  /** Pipeline trigger tokens by project path or id; each is good for its own project alone. */
  readonly triggerTokens: Readonly<Record<string, string>>;
  /**
   * A token with `read_api`, of the user who owns the trigger tokens or of a Maintainer: nobody else may read a pipeline's
   * variables. Without it a start whose answer was lost stays undecided.
   */
  readonly readToken?: string;
  readonly fetch: typeof fetch;
  readonly timeoutMs: number;
  /** ms since the epoch. */
  now(): number;
}

const Pipeline = z.object({ id: z.int().positive(), project_id: z.int().positive() });
const Pipelines = z.array(
  z.object({ id: z.int().positive(), project_id: z.int().positive().optional(), ref: z.string() }),
);
const Variables = z.array(z.object({ key: z.string(), value: z.string().nullish() }));

const pageSize = 100;
/** Pages looked through for one lost start: more pipelines than that were not started in a minute or two. */
const maxPages = 3;
/** The instance's clock may be behind ours, ms. */
const clockSkewMs = 60_000;

/**
 * Starts GitLab pipelines with trigger tokens (`pipeline_source` is `trigger`) and finds them again by the value of
 * `WAYLEAVE_CAUSE`. GitLab knows no idempotency key and cannot filter pipelines by variable, so a look-up reads the variables
 * of each pipeline that was triggered on the ref since the attempt. @see docs.gitlab.com/api/pipeline_triggers
 */
export function gitlabStarter(options: GitlabStartOptions): PipelineStarter {
  const call = createCallApi(options);
  return {
    source: "trigger",
    async start({ project, projectId, ref, variables }) {
      const token = options.triggerTokens[project];
      if (token === undefined)
        return { kind: "refused", detail: `There is no trigger token for ${project}. Set issuers[].start.projects.` };
      const path = `/projects/${encodeURIComponent(projectId ?? project)}/trigger/pipeline`;
      return startOutcome(await call({ method: "POST", path, headers: {}, body: { token, ref, variables } }));
    },
    find: (wanted) => findPipeline(call, options, { ...wanted, project: wanted.projectId ?? wanted.project }),
  };
}

function startOutcome(reply: ApiReply | undefined): StartOutcome {
  if (reply?.status === 201) {
    const read = Pipeline.safeParse(reply.body);
    if (!read.success) return { kind: "unknown", detail: "GitLab answered 201 without a pipeline." };
    const { id, project_id } = read.data;
    return { kind: "started", pipeline: { projectId: String(project_id), pipelineId: String(id) } };
  }
  const outcome = withoutPipeline("GitLab", reply);
  // The limit on pipelines per project, user and commit is a validation error, not a 429.
  if (outcome.kind === "refused" && /Too many pipelines created in the last minute/.test(JSON.stringify(reply?.body)))
    return { kind: "later", afterMs: 60_000, detail: outcome.detail };
  return outcome;
}

type Wanted = Parameters<PipelineStarter["find"]>[0];
type Unknown = Extract<FindOutcome, { kind: "unknown" }>;

async function findPipeline(call: CallApi, options: GitlabStartOptions, wanted: Wanted): Promise<FindOutcome> {
  for (let page = 1; page <= maxPages; page++) {
    const listed = await listTriggered(call, options, wanted, page);
    if ("kind" in listed) return listed;
    for (const { id, project_id } of listed.pipelines) {
      const read = await readVariables(call, options, wanted.project, String(id));
      if ("kind" in read) return read;
      if (read.cause === wanted.cause) return foundPipeline(call, options, wanted.project, String(id), project_id);
    }
    if (!listed.more) return { kind: "none" };
  }
  return { kind: "unknown", final: true, detail: `More than ${maxPages * pageSize} pipelines were triggered since.` };
}

/** One page of the pipelines that were triggered on the ref since the attempt, oldest first. */
async function listTriggered(
  call: CallApi,
  { readToken }: GitlabStartOptions,
  { project, ref, since }: Wanted,
  page: number,
): Promise<{ readonly pipelines: z.infer<typeof Pipelines>; readonly more: boolean } | Unknown> {
  if (readToken === undefined) return cannotRead;
  const query = new URLSearchParams({
    source: "trigger",
    ref,
    // Also known to instances that have no created_after; what is created later is updated later.
    updated_after: new Date(since - clockSkewMs).toISOString(),
    order_by: "id",
    sort: "asc", // a copy of our variable can only be younger
    per_page: String(pageSize),
    page: String(page),
  });
  const path = `/projects/${encodeURIComponent(project)}/pipelines?${query.toString()}`;
  const reply = await call({ method: "GET", path, headers: { "private-token": readToken } });
  const read = reply?.status === 200 ? Pipelines.safeParse(reply.body) : undefined;
  return read?.success === true ? { pipelines: read.data, more: reply?.more === true } : cannotSay(reply);
}

/** Older instances list pipelines without their project's id. */
async function foundPipeline(
  call: CallApi,
  options: GitlabStartOptions,
  project: string,
  pipelineId: string,
  listedProjectId: number | undefined,
): Promise<FindOutcome> {
  if (listedProjectId !== undefined) return found(String(listedProjectId), pipelineId);
  const path = `/projects/${encodeURIComponent(project)}`;
  const reply = await call({ method: "GET", path, headers: { "private-token": options.readToken ?? "" } });
  const read = z.object({ id: z.int().positive() }).safeParse(reply?.body);
  return reply?.status === 200 && read.success ? found(String(read.data.id), pipelineId) : cannotSay(reply);
}

function found(projectId: string, pipelineId: string): FindOutcome {
  return { kind: "found", pipeline: { projectId, pipelineId } };
}

/** The cause a pipeline names, or why it cannot be read. */
async function readVariables(
  call: CallApi,
  { readToken }: GitlabStartOptions,
  project: string,
  pipelineId: string,
): Promise<{ readonly cause: string | undefined } | Unknown> {
  if (readToken === undefined) return cannotRead;
  const path = `/projects/${encodeURIComponent(project)}/pipelines/${encodeURIComponent(pipelineId)}/variables`;
  const reply = await call({ method: "GET", path, headers: { "private-token": readToken } });
  const read = reply?.status === 200 ? Variables.safeParse(reply.body) : undefined;
  if (read?.success !== true) return cannotSay(reply);
  const cause = read.data.find(({ key }) => key === causeVariable)?.value ?? undefined;
  return { cause };
}

const cannotRead: Unknown = {
  kind: "unknown",
  final: true,
  detail: "There is no issuers[].api token to look the pipeline up with.",
};

function cannotSay(reply: ApiReply | undefined): Unknown {
  if (reply === undefined) return { kind: "unknown", detail: "GitLab's API gave no whole answer." };
  const { status, waitMs } = reply;
  const detail = `GitLab's API answered ${status} to a look-up of the pipeline.`;
  if (status === 403 || status === 404) {
    const fix = "Give issuers[].api a token of the trigger token's owner, or of a Maintainer.";
    return { kind: "unknown", final: true, detail: `${detail} ${fix}` };
  }
  return { kind: "unknown", ...(waitMs === undefined ? {} : { afterMs: waitMs }), detail };
}
