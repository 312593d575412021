import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { WayleaveError } from "../core/errors.ts";
import type { CliCommand } from "./command.ts";
import type { CommandIo } from "./command-io.ts";

/** What `demo/story.ts` of a source checkout offers. */
interface Story {
  /** Tells the story and gives the exit status; without `once` it stays up until a signal. */
  tellStory(options: {
    readonly io: CommandIo;
    readonly once: boolean;
    readonly job: "gitlab" | "buildkite";
    readonly gateway: "nginx" | "mesh" | "nats";
  }): Promise<number>;
}

export const demo: CliCommand = {
  path: ["demo"],
  summary: "tell one job's story with a real gateway and a simulated CI",
  details: ["Needs a source checkout. Everything it starts is on loopback and stops with it."],
  options: [
    { spec: "--once", doc: "stop when the story is told (or ONCE=1)" },
    { spec: "--job <ci>", doc: "gitlab or buildkite (default: JOB, or gitlab)" },
    { spec: "--gateway <kind>", doc: "nginx, mesh (NGINX and an Envoy sidecar) or nats (default: GATEWAY, or nginx)" },
  ],
  examples: ["demo", "demo --once --job buildkite"],
  async run(io, input) {
    const job = choose("--job", input.text("job") ?? (io.env.JOB || "gitlab"), ["gitlab", "buildkite"] as const);
    const gateway = choose("--gateway", input.text("gateway") ?? (io.env.GATEWAY || "nginx"), [
      "nginx",
      "mesh",
      "nats",
    ] as const);
    if (gateway !== "nginx" && job !== "gitlab") {
      throw new WayleaveError("invalid_request", `The story of ${gateway} is told with --job gitlab.`);
    }
    const once = input.flag("once") || (io.env.ONCE ?? "") !== "";
    if (!existsSync(fileURLToPath(new URL("../../demo/story.ts", import.meta.url)))) {
      throw new WayleaveError(
        "not_found",
        "The demo is not part of this package. Clone the repository and run `make demo`.",
      );
    }
    const { tellStory } = (await import(new URL("../../demo/story.ts", import.meta.url).href)) as Story;
    return tellStory({ io, once, job, gateway });
  },
};

function choose<const T extends string>(option: string, value: string, known: readonly T[]): T {
  const found = known.find((each) => each === value);
  if (found === undefined)
    throw new WayleaveError("invalid_request", `${option} is ${known.join(" or ")}, not ${JSON.stringify(value)}.`);
  return found;
}
