import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { ProjectIdsResponse } from "./contract.ts";

/** What is known of the id of `<issuer>/<path>`. Never rejects: what cannot be known is said. */
export type ProjectIdOf = (project: string) => Promise<ProjectIdsResponse["projects"][number]>;

export const ProjectsBody = z.strictObject({ projects: z.array(z.string().min(3).max(512)).max(1000) });

/** Ids for a lock file, on the operators' listener. */
export function projectIdRoutes(idOf: ProjectIdOf) {
  return async (app: FastifyInstance): Promise<void> => {
    app.post("/v1/projects/ids", async (request): Promise<ProjectIdsResponse> => {
      const body = ProjectsBody.safeParse(request.body);
      if (!body.success) throw new WayleaveError("invalid_request", "Ask {projects: [issuer/path, …]}, at most 1000.");
      const projects: Awaited<ReturnType<ProjectIdOf>>[] = [];
      // One after the other: a CI's API is not to be flooded.
      for (const project of body.data.projects) projects.push(await idOf(project));
      return { projects };
    });
  };
}
