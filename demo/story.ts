import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { nginxVersion } from "./nginx.ts";
import { tellBuildkite } from "./story-buildkite.ts";
import { tellGitlab } from "./story-gitlab.ts";
import { createTeller } from "./teller.ts";

export interface DemoOptions {
  readonly job: "gitlab" | "buildkite";
  /** Tell the story, stop everything, and return. */
  readonly once: boolean;
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Resolves when the reader has seen enough (Ctrl-C). */
  readonly interrupted: Promise<void>;
}

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * Tells one job's story against real parts: a simulated CI, a broker, a real NGINX. Rejects when a step does not go as
 * told, so that a demo that lies cannot pass.
 */
export async function runDemo(options: DemoOptions): Promise<void> {
  const tell = createTeller(options.stdout, options.env);
  const directory = join(root, ".wayleave-demo");
  const story = options.job === "buildkite" ? tellBuildkite : tellGitlab;
  const world = await story({ tell, directory, nginx: nginxVersion() });
  try {
    if (options.once) return;
    tell.line("");
    tell.line("Still running, for you to try; Ctrl-C stops everything it started.");
    await options.interrupted;
  } finally {
    await world.close();
  }
}
