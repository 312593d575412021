import { type AccessTokens, type Caller, jobOfToken, unauthorized } from "./access.ts";
import {
  approvalsView,
  environmentView,
  jobView,
  mergeRequestView,
  projectView,
  protectedEnvironmentView,
  versionsView,
} from "./api-views.ts";
import type { Answer, Request } from "./listener.ts";
import { mergeRequestsOfCommit } from "./merge-requests.ts";
import { answerPipelines, answerVariables } from "./pipeline-api.ts";
import { findRoute, type Route } from "./router.ts";
import type { TriggerTokens } from "./triggers.ts";
import type { Job, MergeRequest, Project, World } from "./types.ts";

export interface ApiContext {
  readonly world: World;
  readonly tokens: AccessTokens;
  readonly triggers: TriggerTokens;
  /** External URL of the instance. */
  readonly url: string;
}

interface Scope {
  readonly world: World;
  readonly caller: Caller;
  readonly project: Project;
  readonly url: string;
}

type Params = Readonly<Record<string, string>>;

/** Answers a REST request; `path` is what follows `/api/v4`, still encoded. `GET /job` takes the job's own token,
 *  starting a pipeline a trigger token, everything else an access token. What the caller may not see answers as if it were not there. */
export async function answerApi(context: ApiContext, path: string, request: Request): Promise<Answer> {
  const { world, tokens, triggers, url } = context;
  if (path === "/job" && request.method === "GET") {
    const job = jobOfToken(world, request);
    return job ? ok(jobView(job, url)) : unauthorized;
  }
  const started = triggers.answer(path, request);
  if (started) return started;
  const caller = tokens.authenticate(request);
  if ("status" in caller) return caller;
  const found = findRoute(routes, request.method, path);
  if (!found) return { status: 404, body: { error: "404 Not Found" } };
  const project = visibleProject(world, caller, found.params.id ?? "");
  return project ? found.route.handle({ world, caller, project, url }, found.params, request) : missing("Project ");
}

const routes: readonly Route<Scope>[] = [
  get("", ({ project, url }) => ok(projectView(project, url))),
  get("/jobs/:job_id", (scope, params) => withJob(scope, params, (job) => ok(jobView(job, scope.url)))),
  get("/jobs/:job_id/trace", (scope, params) => withJob(scope, params, (job) => ({ status: 200, body: job.trace }))),
  get("/pipelines", (scope, _params, request) => answerPipelines(scope, request)),
  get("/pipelines/:pipeline_id/variables", answerVariables),
  get("/repository/commits/:sha/merge_requests", ({ project, url }, { sha = "" }) =>
    project.commits.has(sha)
      ? ok(mergeRequestsOfCommit(project, sha).map((mergeRequest) => mergeRequestView(mergeRequest, url)))
      : missing("Commit "),
  ),
  get("/merge_requests/:iid", (scope, params) =>
    withMergeRequest(scope, params, (mergeRequest) => ok(mergeRequestView(mergeRequest, scope.url))),
  ),
  get("/merge_requests/:iid/approvals", (scope, params) =>
    withMergeRequest(scope, params, (mergeRequest) => ok(approvalsView(mergeRequest, scope.url))),
  ),
  get("/merge_requests/:iid/versions", (scope, params) =>
    withMergeRequest(scope, params, (mergeRequest) => ok(versionsView(mergeRequest))),
  ),
  get("/environments", ({ project }, _params, request) => {
    const name = request.query.get("name");
    const environments = [...project.environments.values()];
    return ok(environments.filter((entry) => name === null || entry.name === name).map(environmentView));
  }),
  get("/protected_environments/:name", ({ project }, { name = "" }) => {
    const found = project.protectedEnvironments.get(name);
    return found ? ok(protectedEnvironmentView(found)) : missing();
  }),
];

function get(path: string, handle: Route<Scope>["handle"]): Route<Scope> {
  return { method: "GET", pattern: `/projects/:id${path}`, handle };
}

function withJob({ world, project }: Scope, params: Params, answer: (job: Job) => Answer): Answer {
  const job = world.jobs.get(Number(params.job_id));
  return job?.pipeline.project === project ? answer(job) : missing();
}

function withMergeRequest({ project }: Scope, params: Params, answer: (found: MergeRequest) => Answer): Answer {
  const mergeRequest = project.mergeRequests.get(Number(params.iid));
  return mergeRequest ? answer(mergeRequest) : missing();
}

function visibleProject(world: World, caller: Caller, id: string): Project | undefined {
  const project = /^\d+$/.test(id)
    ? world.projects.get(Number(id))
    : [...world.projects.values()].find((candidate) => candidate.path.toLowerCase() === id.toLowerCase());
  return project && caller.sees(project) ? project : undefined;
}

function ok(body: unknown): Answer {
  return { status: 200, body };
}

function missing(what = ""): Answer {
  return { status: 404, body: { message: `404 ${what}Not Found` } };
}
