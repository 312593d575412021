import { z } from "zod";
import type { FactValue } from "../../core/fact.ts";
import type { ForkStatus, JobIdentity } from "../../core/identity.ts";
import { type AskApi, apiUnreachable, createAskApi, readAnswer } from "../ask-api.ts";
import type { CiApi, CiApiOptions, JobStatus } from "../provider.ts";
import { isTerminal } from "./job-state.ts";

const status = z.string().min(1).max(64);

const Job = z.object({
  run_id: z.int(),
  run_attempt: z.int().optional(),
  status,
  conclusion: status.nullish(),
  name: z.string().min(1).max(1024),
  check_run_url: z.string(),
  runner_id: z.int().nullish(),
});

const Run = z.object({
  id: z.int(),
  run_attempt: z.int(),
  status: status.nullable(),
  conclusion: status.nullish(),
  repository: z.object({ id: z.int() }),
  head_repository: z.object({ id: z.int() }).nullish(),
});

const Runner = z.object({ id: z.int(), ephemeral: z.boolean().optional() });

/**
 * GitHub's REST API, read with a token that has `actions: read`. It says how the job stands, what it is called and, for
 * `pull_request`, whether it runs a fork's code; with `administration: read` also whether a self-hosted runner is ephemeral.
 */
export function githubApi(options: CiApiOptions): CiApi {
  const ask = createAskApi({
    ci: "GitHub",
    baseUrl: options.baseUrl,
    headers: { authorization: `Bearer ${options.token}`, "x-github-api-version": "2022-11-28" },
    scope: "actions: read",
    fetch: options.fetch,
    timeoutMs: options.timeoutMs,
  });
  return {
    jobStatus: (identity) => jobStatus(ask, identity),
    facts: (identity, names) => facts(ask, identity, names),
  };
}

async function jobStatus(ask: AskApi, identity: JobIdentity): Promise<JobStatus> {
  const run = await readRun(ask, identity);
  const fork = forkStatus(run, identity);
  const settled = fork === undefined ? {} : { fork };
  if (identity.job.ofRun === true) return { ...standing(run), ...settled };
  const job = await readJob(ask, identity);
  return { ...standing(job), name: job.name, ...settled };
}

function standing(of: { readonly status: string | null; readonly conclusion?: string | null | undefined }) {
  const found = of.status ?? "unknown";
  return { status: of.conclusion ?? found, running: found === "in_progress", over: isTerminal(found) };
}

/** The attempt of the run that the token names. A name that another repository took must not speak for this one. */
async function readRun(ask: AskApi, identity: JobIdentity): Promise<z.infer<typeof Run>> {
  const attempt = String(identity.attributes.run_attempt);
  const path = `${repositoryPath(identity)}/actions/runs/${identity.pipelineId}/attempts/${attempt}`;
  const run = readAnswer(Run, await found(ask, path, `run ${identity.pipelineId}`), "GitHub", "run");
  const same = [
    [run.id, identity.pipelineId],
    [run.run_attempt, attempt],
    [run.repository.id, identity.project.id],
  ];
  if (same.every(([said, wanted]) => String(said) === wanted)) return run;
  throw apiUnreachable("GitHub", `shows run ${identity.pipelineId} of another repository or attempt. Check api.url`);
}

async function readJob(ask: AskApi, identity: JobIdentity): Promise<z.infer<typeof Job>> {
  const { id } = identity.job;
  const path = `${repositoryPath(identity)}/actions/jobs/${id}`;
  const job = readAnswer(Job, await found(ask, path, `job ${id}`), "GitHub", "job");
  if (String(job.run_id) === identity.pipelineId && job.check_run_url.endsWith(`/check-runs/${id}`)) return job;
  throw apiUnreachable("GitHub", `shows job ${id} in another run than its token. Check api.url`);
}

async function found(ask: AskApi, path: string, what: string): Promise<unknown> {
  const answer = await ask(path);
  if (answer.found) return answer.body;
  throw apiUnreachable("GitHub", `shows no ${what} (404). Give issuers[].api a token that reads this repository`);
}

/** Only `pull_request` is settled: of other events the run's head is the repository's own, whoever's code they handle. */
function forkStatus(run: z.infer<typeof Run>, { attributes }: JobIdentity): Exclude<ForkStatus, "unknown"> | undefined {
  if (attributes.event_name !== "pull_request" || run.head_repository == null) return undefined;
  return run.head_repository.id === run.repository.id ? "no" : "yes";
}

async function facts(
  ask: AskApi,
  identity: JobIdentity,
  names: readonly string[],
): Promise<Readonly<Record<string, FactValue>>> {
  const { environment } = identity;
  const known: Record<string, FactValue> = environment === undefined ? {} : { "environment.name": environment };
  if (names.includes("runner.ephemeral")) {
    const ephemeral = await isEphemeral(ask, identity);
    if (ephemeral !== undefined) known["runner.ephemeral"] = ephemeral;
  }
  return Object.fromEntries(Object.entries(known).filter(([name]) => names.includes(name)));
}

/** Of a self-hosted runner of the repository; what our token may not see, or an older server does not say, is unknown. */
async function isEphemeral(ask: AskApi, identity: JobIdentity): Promise<boolean | undefined> {
  if (identity.runner?.environment !== "self-hosted" || identity.job.ofRun === true) return undefined;
  try {
    const { runner_id: id } = await readJob(ask, identity);
    if (id == null) return undefined;
    const answer = await ask(`${repositoryPath(identity)}/actions/runners/${id}`);
    const runner = answer.found ? Runner.safeParse(answer.body).data : undefined;
    return runner?.id === id ? runner.ephemeral : undefined;
  } catch {
    return undefined; // a refused look-up is a missing fact, no more
  }
}

const repositoryPath = ({ project }: JobIdentity) =>
  `/repos/${project.path.split("/").map(encodeURIComponent).join("/")}`;
