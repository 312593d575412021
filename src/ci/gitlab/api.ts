import { z } from "zod";
import type { FactValue } from "../../core/fact.ts";
import type { JobIdentity } from "../../core/identity.ts";
import { type AskApi, apiUnreachable, createAskApi, readAnswer } from "../ask-api.ts";
import type { CiApi, CiApiOptions, JobStatus } from "../provider.ts";
import { changeFacts } from "./change.ts";
import { runningProjectId } from "./claims.ts";
import { isTerminal } from "./job-status.ts";

const Job = z.object({
  id: z.int(),
  status: z.string().min(1).max(64),
  name: z.string().min(1).max(1024).optional(),
  pipeline: z.object({ id: z.int() }),
});

/**
 * GitLab's REST API, read with a token that has `read_api`. The project asked is the one that runs the job, which
 * before 18.4 is not in a fork's token: such a job cannot be asked about, and is refused.
 */
export function gitlabApi(options: CiApiOptions): CiApi {
  const ask = createAskApi({
    ci: "GitLab",
    baseUrl: options.baseUrl,
    headers: { "private-token": options.token },
    scope: "read_api",
    fetch: options.fetch,
    timeoutMs: options.timeoutMs,
  });
  return {
    jobStatus: (identity) => jobStatus(ask, identity),
    async facts(identity, names) {
      const [change, environment] = await Promise.all([
        changeFacts(ask, identity, names),
        environmentFacts(ask, identity, names),
      ]);
      const known: Readonly<Record<string, FactValue>> = { ...change, ...environment };
      return Object.fromEntries(Object.entries(known).filter(([name]) => names.includes(name)));
    },
    projectId: (path) => projectId(ask, path),
  };
}

const Project = z.object({ id: z.int().positive(), path_with_namespace: z.string() });

/** GitLab answers for an old path of a renamed project too, and in any case: only the path itself counts. */
async function projectId(ask: AskApi, path: string): Promise<string | undefined> {
  const answer = await ask(`/projects/${encodeURIComponent(path)}`);
  if (!answer.found) return undefined;
  const project = readAnswer(Project, answer.body, "GitLab", "project");
  return project.path_with_namespace === path ? String(project.id) : undefined;
}

async function jobStatus(ask: AskApi, identity: JobIdentity): Promise<JobStatus> {
  const { id } = identity.job;
  const answer = await ask(`/projects/${runningProjectId(identity)}/jobs/${id}`);
  if (!answer.found) {
    const fix =
      identity.fork === "unknown"
        ? "Before GitLab 18.4 a fork's token does not name the project that runs its job"
        : "Give its token's user at least the Reporter role there";
    throw apiUnreachable("GitLab", `shows no job ${id} (404). ${fix}`);
  }
  const job = readAnswer(Job, answer.body, "GitLab", "job");
  if (String(job.id) !== id || String(job.pipeline.id) !== identity.pipelineId) {
    throw apiUnreachable("GitLab", `shows job ${id} in another pipeline than its token. Check api.url`);
  }
  return {
    status: job.status,
    running: job.status === "running",
    over: isTerminal(job.status),
    ...(job.name === undefined ? {} : { name: job.name }),
  };
}

/** Name and tier are the token's; whether the environment is protected is asked, because it can change. */
async function environmentFacts(
  ask: AskApi,
  identity: JobIdentity,
  names: readonly string[],
): Promise<Readonly<Record<string, FactValue>>> {
  const { environment, attributes } = identity;
  if (environment === undefined) return {};
  const guarded = names.includes("environment.protected") ? await isProtected(ask, identity, environment) : undefined;
  return {
    "environment.name": environment,
    ...(attributes.deployment_tier === undefined ? {} : { "environment.tier": String(attributes.deployment_tier) }),
    ...(guarded === undefined ? {} : { "environment.protected": guarded }),
  };
}

/**
 * True only where token and API agree: a job that started before the environment was protected passed no gate. Where
 * the token says yes and the API finds nothing (a group's protection, or one just lifted), it is unknown.
 */
async function isProtected(ask: AskApi, identity: JobIdentity, environment: string): Promise<boolean | undefined> {
  const claimed = identity.attributes.environment_protected;
  if (claimed === false) return false;
  const path = `/projects/${runningProjectId(identity)}/protected_environments/${encodeURIComponent(environment)}`;
  const answer = await ask(path).catch(() => undefined); // our token may not see this: the fact is missing, no more
  if (answer === undefined) return undefined;
  if (answer.found) return true;
  const hidden = z.object({ message: z.string().regex(/^404 Project/i) }).safeParse(answer.body).success;
  return hidden || claimed === true ? undefined : false;
}
