import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { nginxVersion } from "./nginx.ts";
import { tellBuildkite } from "./story-buildkite.ts";
import { tellGitlab } from "./story-gitlab.ts";
import { tellMesh } from "./story-mesh.ts";
import { tellNats } from "./story-nats.ts";
import { createTeller } from "./teller.ts";

export interface DemoOptions {
  readonly job: "gitlab" | "buildkite";
  readonly gateway: "nginx" | "mesh" | "nats";
  /** Tell the story, stop everything, and return. */
  readonly once: boolean;
  readonly io: {
    readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
    readonly env: Readonly<Record<string, string | undefined>>;
  };
}

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * Tells one job's story against real parts: a simulated CI, a broker, a real NGINX. Resolves with the exit status; rejects
 * when a step does not go as told, so that a demo that lies cannot pass.
 */
export async function tellStory({ io, job, gateway, once }: DemoOptions): Promise<number> {
  const tell = createTeller(io.stdout, io.env);
  const directory = join(root, ".wayleave-demo");
  const world = await (gateway === "nats"
    ? tellNats({ tell, directory })
    : storyOf(job, gateway)({ tell, directory, nginx: nginxVersion() }));
  try {
    if (!once) {
      tell.line("Ctrl-C stops everything it started.");
      await new Promise<void>((resolve) => {
        process.once("SIGINT", () => resolve()).once("SIGTERM", () => resolve());
      });
    }
    return 0;
  } finally {
    await world.close();
  }
}

function storyOf(job: DemoOptions["job"], gateway: "nginx" | "mesh"): typeof tellMesh {
  if (gateway === "mesh") return tellMesh;
  return job === "buildkite" ? tellBuildkite : tellGitlab;
}
