import type { Caller } from "./access.ts";
import { pipelineView, updatedAt } from "./api-views.ts";
import type { Answer, Request } from "./listener.ts";
import type { Pipeline, Project, World } from "./types.ts";

interface PipelineScope {
  readonly world: World;
  readonly caller: Caller;
  readonly project: Project;
  readonly url: string;
}

/** `GET …/pipelines` with its filters and offset pagination; child pipelines are listed only when asked for by source. */
export function answerPipelines({ world, project, url }: PipelineScope, { query }: Request): Answer {
  const after = Date.parse(query.get("updated_after") ?? "");
  const wanted = (pipeline: Pipeline): boolean =>
    pipeline.project === project &&
    (query.get("source") ?? (pipeline.source === "parent_pipeline" ? "" : pipeline.source)) === pipeline.source &&
    (query.get("ref") ?? pipeline.ref) === pipeline.ref &&
    (Number.isNaN(after) || updatedAt(pipeline) > after);
  const sign = query.get("sort") === "asc" ? 1 : -1;
  const all = [...world.pipelines.values()].filter(wanted).sort((a, b) => sign * (a.id - b.id));
  const size = Math.min(Number(query.get("per_page") ?? 20), 100);
  const page = Number(query.get("page") ?? 1);
  const next = page * size < all.length ? String(page + 1) : "";
  return {
    status: 200,
    headers: { "x-page": String(page), "x-per-page": String(size), "x-next-page": next },
    body: all.slice((page - 1) * size, page * size).map((pipeline) => pipelineView(pipeline, url)),
  };
}

/** `GET …/pipelines/:pipeline_id/variables`: for Maintainers, and for whoever started the pipeline. */
export function answerVariables(
  { world, caller, project }: PipelineScope,
  { pipeline_id }: Readonly<Record<string, string>>,
): Answer {
  const pipeline = world.pipelines.get(Number(pipeline_id));
  if (pipeline?.project !== project) return { status: 404, body: { message: "404 Not Found" } };
  if (!caller.readsVariables(pipeline)) return { status: 403, body: { message: "403 Forbidden" } };
  return { status: 200, body: pipeline.variables.map((variable) => ({ ...variable, raw: false })) };
}
