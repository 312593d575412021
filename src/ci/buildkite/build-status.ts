import { z } from "zod";
import type { BuildStatus } from "../../core/build-status.ts";
import { uuid } from "./claims.ts";

const word = z.string().regex(/^[a-z_]{1,32}$/);

const Hook = z.object({
  event: z.string().regex(/^(?:build|job)\.[a-z_]{1,32}$/),
  build: z.object({ number: z.int().positive(), state: word, branch: z.string().max(1024).nullish() }),
  pipeline: z.object({ id: uuid, slug: z.string().max(255).optional() }),
  job: z.object({ id: uuid, name: z.string().max(1024).nullish(), state: word }).optional(),
});

/** The status in an authenticated build or job webhook; undefined for every other. The path is the slug: no hook names the organization. */
export function buildkiteBuildStatus(body: unknown): BuildStatus | undefined {
  const read = Hook.safeParse(body);
  if (!read.success) return undefined;
  const { event, build, pipeline, job } = read.data;
  const ofJob = event.startsWith("job.");
  if (ofJob && job === undefined) return undefined;
  return {
    projectId: pipeline.id,
    ...(pipeline.slug === undefined ? {} : { projectPath: pipeline.slug }),
    pipelineId: String(build.number),
    status: ofJob && job !== undefined ? job.state : build.state,
    ...(build.branch == null ? {} : { ref: build.branch }),
    ...(ofJob && job !== undefined ? { job: { id: job.id, name: job.name ?? "" } } : {}),
  };
}
