import type { Answer, Request } from "../gitlab/listener.ts";
import { findRoute, type Route } from "../gitlab/router.ts";
import { startBuild } from "./builds.ts";
import type { Build, Pipeline, World } from "./types.ts";
import { buildView, buildWithoutJobs } from "./views.ts";

/** What the REST API is to answer instead of the truth. */
export type ApiFault =
  | { readonly status: 429; readonly resetSeconds: number }
  | { readonly status: 500 }
  /** The request takes effect, and the connection breaks before the answer. */
  | { readonly status: "answer_lost" };

export interface RestContext {
  readonly world: World;
  /** Scopes by token. */
  readonly apiTokens: ReadonlyMap<string, readonly string[]>;
  readonly issuer: string;
}

type Params = Readonly<Record<string, string>>;

/** Answers a request below `/v2`. A 429 says in `RateLimit-Reset` for how many seconds; there is no `Retry-After`. */
export function answerRest(context: RestContext, fault: ApiFault | undefined, request: Request): Answer {
  if (fault?.status === 500) return { status: 500, body: { message: "Internal Server Error" } };
  if (fault?.status === 429) {
    const headers = {
      "ratelimit-remaining": "0",
      "ratelimit-limit": "200",
      "ratelimit-reset": String(fault.resetSeconds),
    };
    return { status: 429, headers, body: { message: "You have exceeded your API rate limit." } };
  }
  const answer = answerTruly(context, request);
  return fault === undefined ? answer : { status: 0, body: "" };
}

function answerTruly(context: RestContext, request: Request): Answer {
  const found = findRoute(routes, request.method, request.path);
  if (!found) return notFound;
  const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
  const scopes = context.apiTokens.get(token ?? "");
  if (!scopes)
    return { status: 401, body: { message: "Authentication required. Please supply a valid API Access Token" } };
  const scope = request.method === "POST" ? "write_builds" : "read_builds";
  if (!scopes.includes(scope))
    return { status: 403, body: { message: `Forbidden: your access token lacks the ${scope} scope` } };
  return found.route.handle(context, found.params, request) as Answer;
}

const notFound: Answer = { status: 404, body: { message: "Not Found" } };

const builds = "/v2/organizations/:organization/pipelines/:pipeline/builds";

const routes: readonly Route<RestContext>[] = [
  { method: "GET", pattern: builds, handle: (context, params, request) => listBuilds(context, params, request) },
  { method: "POST", pattern: builds, handle: (context, params, request) => createBuild(context, params, request) },
  {
    method: "GET",
    pattern: `${builds}/:number`,
    handle: (context, params, request) => showBuild(context, params, request),
  },
];

function showBuild({ world, issuer }: RestContext, params: Params, { query }: Request): Answer {
  const pipeline = pipelineOf(world, params);
  const build = world.builds.find((each) => each.pipeline === pipeline && String(each.number) === params.number);
  if (build === undefined) return notFound;
  return { status: 200, body: viewer(query)(build, issuer) };
}

/** Newest first, by meta-data, branch and creation time where asked. */
function listBuilds({ world, issuer }: RestContext, params: Params, { query }: Request): Answer {
  const pipeline = pipelineOf(world, params);
  if (pipeline === undefined) return notFound;
  const from = Date.parse(query.get("created_from") ?? "");
  const metaData = [...query].flatMap(([name, value]) => {
    const key = /^meta_data\[(.+)\]$/.exec(name)?.[1];
    return key === undefined ? [] : [{ key, value }];
  });
  const found = world.builds.filter(
    (build) =>
      build.pipeline === pipeline &&
      (query.get("branch") ?? build.branch) === build.branch &&
      (Number.isNaN(from) || build.createdAt >= from) &&
      metaData.every(({ key, value }) => build.metaData.get(key) === value),
  );
  const size = Math.min(Number(query.get("per_page") ?? 30), 100);
  const page = Number(query.get("page") ?? 1);
  const shown = found.toReversed().slice((page - 1) * size, page * size);
  const link = page * size < found.length ? { link: `<${issuer}/v2/next?page=${page + 1}>; rel="next"` } : {};
  return { status: 200, headers: link, body: shown.map((build) => viewer(query)(build, issuer)) };
}

function createBuild({ world, issuer }: RestContext, params: Params, request: Request): Answer {
  const pipeline = pipelineOf(world, params);
  if (pipeline === undefined) return notFound;
  const body = objectOf(request.body);
  if (body === undefined) return { status: 400, body: { message: "Request body must be JSON" } };
  const { branch, commit, message } = body;
  const missing = Object.entries({ commit, branch }).filter(([, value]) => typeof value !== "string");
  if (typeof branch !== "string" || typeof commit !== "string") {
    const errors = missing.map(([field]) => ({ field, code: "missing_field" }));
    return { status: 422, body: { message: "Validation Failed", errors } };
  }
  if (pipeline.branches?.includes(branch) === false)
    return { status: 422, body: { message: `Branches have been disabled for this pipeline: ${branch}` } };
  const build = startBuild(world, pipeline, {
    branch,
    commit,
    ...(typeof message === "string" ? { message } : {}),
    source: "api",
    env: textsOf(body.env),
    metaData: textsOf(body.meta_data),
    steps: pipeline.steps,
  });
  return { status: 201, body: buildView(build, issuer) };
}

function pipelineOf(world: World, { organization, pipeline = "" }: Params): Pipeline | undefined {
  return world.organization.slug === organization ? world.pipelines.get(pipeline) : undefined;
}

function viewer(query: URLSearchParams): (build: Build, url: string) => Record<string, unknown> {
  return query.get("exclude_jobs") === "true" ? buildWithoutJobs : buildView;
}

function objectOf(body: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(body);
    return typeof parsed === "object" && parsed !== null ? { ...parsed } : undefined;
  } catch {
    return undefined; // answered as what it is
  }
}

function textsOf(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, String(each)]));
}
