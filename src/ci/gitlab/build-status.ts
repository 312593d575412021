import { z } from "zod";
import type { BuildStatus } from "../../core/build-status.ts";

const id = z.int().positive().transform(String);
const word = z.string().regex(/^[a-z_]{1,32}$/);
const project = z.object({ id, path_with_namespace: z.string().max(1024).optional() });

const Job = z.object({
  object_kind: z.literal("build"),
  build_id: id,
  build_name: z.string().max(1024),
  build_status: word,
  pipeline_id: id,
  project_id: id,
  ref: z.string().max(1024).optional(),
  project: project.optional(),
});

const Pipeline = z.object({
  object_kind: z.literal("pipeline"),
  object_attributes: z.object({ id, status: word, ref: z.string().max(1024).optional() }),
  project,
});

/** The status in an authenticated Job or Pipeline Hook; undefined for every other. A pipeline's variables are not read. */
export function gitlabBuildStatus(body: unknown): BuildStatus | undefined {
  const job = Job.safeParse(body);
  if (job.success) {
    const { project_id, project: shown, pipeline_id, build_status, build_id, build_name, ref } = job.data;
    return {
      projectId: project_id,
      ...pathOf(shown?.path_with_namespace),
      pipelineId: pipeline_id,
      status: build_status,
      ...(ref === undefined ? {} : { ref }),
      job: { id: build_id, name: build_name },
    };
  }
  const pipeline = Pipeline.safeParse(body);
  if (!pipeline.success) return undefined;
  const { project: of, object_attributes: attributes } = pipeline.data;
  return {
    projectId: of.id,
    ...pathOf(of.path_with_namespace),
    pipelineId: attributes.id,
    status: attributes.status,
    ...(attributes.ref === undefined ? {} : { ref: attributes.ref }),
  };
}

function pathOf(path: string | undefined): { projectPath?: string } {
  return path === undefined ? {} : { projectPath: path };
}
