import { z } from "zod";
import { causeVariable, type FindOutcome, type PipelineStarter, type StartOutcome } from "../../core/pipeline-start.ts";
import { type ApiReply, createCallApi, withoutPipeline } from "../call-api.ts";

export interface BuildkiteStartOptions {
  /** API base, `https://api.buildkite.com/v2`. */
  readonly baseUrl: string;
  /** REST token with `write_builds` and `read_builds`. */
  readonly token: string;
  readonly fetch: typeof fetch;
  readonly timeoutMs: number;
  /** ms since the epoch. */
  now(): number;
}

const Build = z.object({
  number: z.int().positive(),
  pipeline: z.object({ id: z.string().min(1) }),
  env: z.record(z.string(), z.unknown()).nullish(),
  meta_data: z.record(z.string(), z.unknown()).nullish(),
});
type Build = z.infer<typeof Build>;

const metaData = "wayleave_event";
const clockSkewMs = 60_000;

/**
 * Starts Buildkite builds (`build_source` is `api`) and finds them again by their meta-data `wayleave_event`, by which
 * Buildkite can filter. Steps of a build may set meta-data but not the build's own `env`, so both must name the cause.
 * @see buildkite.com/docs/apis/rest-api/builds
 */
export function buildkiteStarter(options: BuildkiteStartOptions): PipelineStarter {
  const call = createCallApi(options);
  const headers = { authorization: `Bearer ${options.token}` };
  return {
    source: "api",
    async start({ project, ref, cause, variables }) {
      const body = {
        commit: "HEAD",
        branch: ref,
        message: "Started by an event",
        env: variables,
        meta_data: { [metaData]: cause },
      };
      return startOutcome(await call({ method: "POST", path: buildsPath(project), headers, body }));
    },
    async find({ project, ref, cause, since }) {
      const query = new URLSearchParams({
        [`meta_data[${metaData}]`]: cause,
        branch: ref,
        created_from: new Date(since - clockSkewMs).toISOString(),
        exclude_jobs: "true",
        per_page: "100",
      });
      const reply = await call({ method: "GET", path: `${buildsPath(project)}?${query.toString()}`, headers });
      const read = reply?.status === 200 ? z.array(Build).safeParse(reply.body) : undefined;
      if (reply === undefined || read?.success !== true) return cannotSay(reply);
      // Newest first; ours is the oldest that names the cause.
      const build = read.data.findLast((each) => causeOf(each) === cause);
      if (build !== undefined) return { kind: "found", pipeline: pipelineOf(build) };
      if (reply.more) return { kind: "unknown", final: true, detail: "More than 100 builds name this cause." };
      return { kind: "none" };
    },
  };
}

/** `organization/pipeline` as the API's path. */
function buildsPath(project: string): string {
  const [organization = "", pipeline = ""] = project.split("/").map(encodeURIComponent);
  return `/organizations/${organization}/pipelines/${pipeline}/builds`;
}

function startOutcome(reply: ApiReply | undefined): StartOutcome {
  if (reply?.status !== 201) return withoutPipeline("Buildkite", reply);
  const read = Build.safeParse(reply.body);
  if (!read.success) return { kind: "unknown", detail: "Buildkite answered 201 without a build." };
  return { kind: "started", pipeline: pipelineOf(read.data) };
}

function pipelineOf({ number, pipeline }: Build) {
  return { projectId: pipeline.id, pipelineId: String(number) };
}

function causeOf({ env, meta_data }: Build): string | undefined {
  const named = meta_data?.[metaData];
  return typeof named === "string" && env?.[causeVariable] === named ? named : undefined;
}

function cannotSay(reply: ApiReply | undefined): Extract<FindOutcome, { kind: "unknown" }> {
  if (reply === undefined) return { kind: "unknown", detail: "Buildkite's API gave no whole answer." };
  const { status, waitMs } = reply;
  const detail = `Buildkite's API answered ${status} to a look-up of the build.`;
  if (status === 403 || status === 404) {
    return { kind: "unknown", final: true, detail: `${detail} Give issuers[].start a token with read_builds.` };
  }
  return { kind: "unknown", ...(waitMs === undefined ? {} : { afterMs: waitMs }), detail };
}
