import { randomBytes } from "node:crypto";
import { pipelineView } from "./api-views.ts";
import type { Answer, Request } from "./listener.ts";
import { type PipelineOptions, startPipeline } from "./pipelines.ts";
import { findRoute, type Route } from "./router.ts";
import type { Project, User, World } from "./types.ts";

export interface TriggerTokenOptions {
  /** Whom its pipelines run as. */
  readonly owner: User;
  /** The jobs of a pipeline it starts. Default: one, `deploy`. */
  readonly jobs?: PipelineOptions["jobs"];
}

export interface TriggerTokens {
  create(project: Project, options: TriggerTokenOptions): string;
  /** The answer to a request that starts a pipeline; undefined for every other request. */
  answer(path: string, request: Request): Answer | undefined;
}

interface Context {
  readonly world: World;
  readonly url: string;
}

/** Pipelines that one user may create for one commit of one project within a minute, where the instance limits it. */
const perMinute = 25;

/** Keeps the pipeline trigger tokens of an instance, and starts pipelines for them. */
export function createTriggerTokens(context: () => Context): TriggerTokens {
  const tokens = new Map<string, TriggerTokenOptions & { readonly project: Project }>();
  const start = (id: string, request: Request): Answer => {
    const params = parametersOf(request);
    const problem = problemOf(params);
    if (problem !== undefined) return problem;
    const { world, url } = context();
    const token = tokens.get(params.token ?? "");
    // A token of another project is not told apart from none, nor from a project that is not there.
    if (token === undefined || !isCalled(token.project, id)) return { status: 404, body: { message: "404 Not Found" } };
    return startTriggered(world, url, token, params);
  };
  const routes: readonly Route<undefined>[] = [
    {
      method: "POST",
      pattern: "/projects/:id/trigger/pipeline",
      handle: (_, { id = "" }, request) => start(id, request),
    },
  ];
  return {
    create(project, options) {
      const token = `glptt-${randomBytes(20).toString("hex")}`;
      tokens.set(token, { ...options, project });
      return token;
    },
    answer(path, request) {
      const found = findRoute(routes, request.method, path);
      return found?.route.handle(undefined, found.params, request) as Answer | undefined;
    },
  };
}

interface Parameters {
  readonly token: string | undefined;
  readonly ref: string | undefined;
  readonly variables: Readonly<Record<string, unknown>>;
}

function startTriggered(
  world: World,
  url: string,
  { project, owner, jobs = ["deploy"] }: TriggerTokenOptions & { readonly project: Project },
  { ref = "", variables }: Parameters,
): Answer {
  const isTag = project.tags.has(ref);
  const target = isTag ? project.tags.get(ref) : project.branches.get(ref);
  if (target === undefined) return invalid("Reference not found");
  const since = world.now() - 60_000;
  const recent = [...world.pipelines.values()].filter(
    (each) => each.project === project && each.user === owner && each.sha === target.sha && each.createdAt > since,
  );
  if (recent.length >= perMinute) return invalid("Too many pipelines created in the last minute. Try again later.");
  const payload = JSON.stringify({ ref, id: String(project.id), variables });
  const pipeline = startPipeline(world, project, {
    source: "trigger",
    ref,
    tag: isTag,
    user: owner,
    jobs,
    variables: [
      ...Object.entries(variables).map(([key, value]) => ({
        key,
        value: String(value),
        variable_type: "env_var" as const,
      })),
      { key: "TRIGGER_PAYLOAD", value: payload, variable_type: "file" },
    ],
  });
  return { status: 201, body: pipelineView(pipeline, url) };
}

/** A validation of the pipeline failed: GitLab says so with 400, its limit on pipelines per minute included. */
function invalid(message: string): Answer {
  return { status: 400, body: { message: { base: [message] } } };
}

function problemOf({ token, ref, variables }: Parameters): Answer | undefined {
  const missing = [ref ? undefined : "ref is missing", token === undefined ? "token is missing" : undefined];
  const error = missing.filter((each) => each !== undefined).join(", ");
  if (error !== "") return { status: 400, body: { error } };
  if (!Object.values(variables).every((value) => typeof value === "string"))
    return { status: 400, body: { message: "variables needs to be a map of key-valued strings" } };
  const wrong = Object.keys(variables).some((key) => !/^[A-Za-z0-9_]{1,255}$/.test(key));
  return wrong ? invalid("Variables key can contain only letters, digits and '_'.") : undefined;
}

/** JSON, or a form with `variables[NAME]`. */
function parametersOf({ headers, body }: Request): Parameters {
  if (headers["content-type"]?.startsWith("application/json")) {
    const { token, ref, variables } = JSON.parse(body) as Partial<Record<keyof Parameters, unknown>>;
    return {
      token: typeof token === "string" ? token : undefined,
      ref: typeof ref === "string" ? ref : undefined,
      variables: typeof variables === "object" && variables !== null ? { ...variables } : {},
    };
  }
  const form = new URLSearchParams(body);
  const variables = [...form].flatMap(([name, value]) => {
    const key = /^variables\[(.+)\]$/.exec(name)?.[1];
    return key === undefined ? [] : [[key, value] as const];
  });
  return {
    token: form.get("token") ?? undefined,
    ref: form.get("ref") ?? undefined,
    variables: Object.fromEntries(variables),
  };
}

function isCalled(project: Project, id: string): boolean {
  return /^\d+$/.test(id) ? project.id === Number(id) : project.path.toLowerCase() === id.toLowerCase();
}
