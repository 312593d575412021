import type { Running } from "./story-step.ts";
import { type CiPart, type DemoWorld, startWorld, type WorldOptions } from "./world.ts";

/** Starts a CI and a world around it and tells a story in them; whatever was started is stopped when a step goes wrong. */
export async function tellInWorld<Ci extends { readonly part: CiPart }>(story: {
  readonly directory: string;
  readonly world?: Pick<WorldOptions, "mesh">;
  readonly startCi: (...given: Parameters<WorldOptions["ci"]>) => Promise<Ci>;
  readonly closeCi: (ci: Ci) => Promise<void>;
  readonly steps: (world: DemoWorld, ci: Ci) => Promise<void>;
}): Promise<Running> {
  const started: (() => Promise<void>)[] = [];
  const close = async () => {
    for (const stop of started.toReversed()) await stop();
  };
  try {
    const cis: Ci[] = [];
    const world = await startWorld({
      directory: story.directory,
      edgePort: 8443,
      ...story.world,
      ci: async (brokerUrl, privateCa) => {
        const ci = await story.startCi(brokerUrl, privateCa);
        cis.push(ci);
        started.push(() => story.closeCi(ci));
        return ci.part;
      },
    });
    started.push(world.close);
    for (const ci of cis) await story.steps(world, ci);
    return { close };
  } catch (error) {
    await close();
    throw error;
  }
}
