import { z } from "zod";
import type { JobIdentity } from "../../core/identity.ts";
import { type AskApi, apiUnreachable, createAskApi, readAnswer } from "../ask-api.ts";
import type { CiApi, CiApiOptions, JobStatus } from "../provider.ts";
import { isTerminal } from "./job-state.ts";
import { sameRepository } from "./repository.ts";

const Build = z.object({
  number: z.int(),
  pipeline: z.object({ id: z.string(), repository: z.string().nullish() }),
  pull_request: z.object({ repository: z.string().nullish() }).nullish(),
  jobs: z.array(z.object({ id: z.string(), state: z.string().min(1).max(64).nullish(), name: z.string().nullish() })),
});
type Build = z.infer<typeof Build>;

/**
 * Buildkite's REST API, read with a token that has `read_builds`. One look-up of the build says how the job stands and
 * whether it is of a fork's pull request. It knows no facts: Buildkite has no merge requests and no environments.
 */
export function buildkiteApi(options: CiApiOptions): CiApi {
  const ask = createAskApi({
    ci: "Buildkite",
    baseUrl: options.baseUrl,
    headers: { authorization: `Bearer ${options.token}` },
    scope: "read_builds",
    fetch: options.fetch,
    timeoutMs: options.timeoutMs,
  });
  return {
    jobStatus: (identity) => jobStatus(ask, identity),
    facts: async () => ({}),
    projectId: (path) => pipelineId(ask, path),
  };
}

const Pipeline = z.object({ id: z.string().min(1).max(64), slug: z.string() });

/** Needs `read_pipelines` beside what job look-ups need. */
async function pipelineId(ask: AskApi, path: string): Promise<string | undefined> {
  const [organization = "", slug = ""] = path.split("/");
  const answer = await ask(`/organizations/${encodeURIComponent(organization)}/pipelines/${encodeURIComponent(slug)}`);
  if (!answer.found) return undefined;
  const pipeline = readAnswer(Pipeline, answer.body, "Buildkite", "pipeline");
  return pipeline.slug === slug ? pipeline.id : undefined;
}

async function jobStatus(ask: AskApi, identity: JobIdentity): Promise<JobStatus> {
  const [organization = "", pipeline = ""] = identity.project.path.split("/").map(encodeURIComponent);
  const number = identity.pipelineId;
  const path = `/organizations/${organization}/pipelines/${pipeline}/builds/${number}?include_retried_jobs=true`;
  const answer = await ask(path);
  if (!answer.found) {
    throw apiUnreachable(
      "Buildkite",
      `shows no build ${number} (404). Give issuers[].api a token of this organization`,
    );
  }
  const build = readAnswer(Build, answer.body, "Buildkite", "build");
  // A slug that was renamed and taken by another pipeline must not speak for this job.
  const job = build.jobs.find(({ id }) => id === identity.job.id);
  if (build.pipeline.id !== identity.project.id || String(build.number) !== number || job?.state == null) {
    throw apiUnreachable("Buildkite", `shows build ${number} without this job. Check api.url`);
  }
  const fork = forkStatus(build);
  return {
    status: job.state,
    running: job.state === "running",
    over: isTerminal(job.state),
    ...(job.name ? { name: job.name } : {}),
    ...(fork === undefined ? {} : { fork }),
  };
}

/** Undefined where the build does not say: it stays unknown. */
function forkStatus({ pull_request: change, pipeline }: Build): "yes" | "no" | undefined {
  if (change === null) return "no";
  if (change?.repository == null || pipeline.repository == null) return undefined;
  return sameRepository(change.repository, pipeline.repository) ? "no" : "yes";
}
