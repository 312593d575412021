import type { FastifyInstance } from "fastify";

export interface Health {
  /** What stands in the way of serving; empty when ready. */
  problems(): readonly string[];
  /** What an operator should look at before it becomes a problem (a disk filling up). */
  warnings(): readonly string[];
}

/** `/healthz`: the process lives. `/readyz`: it can decide and record; 503 with the reasons otherwise. */
export function healthRoutes(health: Health) {
  return async (app: FastifyInstance): Promise<void> => {
    app.get("/healthz", async () => ({ status: "ok" }));
    app.get("/readyz", async (_request, reply) => {
      const problems = health.problems();
      const warnings = health.warnings();
      return reply
        .code(problems.length === 0 ? 200 : 503)
        .send({ status: problems.length === 0 ? "ready" : "unavailable", problems, warnings });
    });
  };
}
