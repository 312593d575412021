import type { FastifyInstance } from "fastify";
import type { StoryFacts } from "../gateway/story-facts.ts";
import { problem } from "./problem.ts";

export interface VerifyRouteDeps {
  /** What is known of a session, by its id, its job's id or a trace. Rejects `session_not_found`. */
  facts(name: string): Promise<StoryFacts>;
}

/**
 * `GET /v1/verify/<session, job or trace>`, on the operator's socket: what a session's story is told from. The telling is
 * `tellStory`, a pure function that the CLI calls, so that it can add what only its machine can read.
 */
export function verifyRoutes(deps: VerifyRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.get<{ Params: { name: string } }>("/v1/verify/:name", async (request) => deps.facts(request.params.name));
  };
}
