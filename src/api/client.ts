import { createHash } from "node:crypto";
import type { FastifyInstance } from "fastify";

/** `GET /client.sh` and its checksum, for images that have nothing but sh and curl. */
export function clientRoutes(script: string) {
  const checksum = createHash("sha256").update(script).digest("hex");
  return async (app: FastifyInstance): Promise<void> => {
    app.get("/client.sh", async (_request, reply) =>
      reply.type("text/x-shellscript; charset=utf-8").header("etag", `"${checksum}"`).send(script),
    );
    // The form `sha256sum -c` reads, with the name that the script's first lines save it under.
    app.get("/client.sh.sha256", async (_request, reply) =>
      reply.type("text/plain; charset=utf-8").send(`${checksum}  wayleave.sh\n`),
    );
  };
}
