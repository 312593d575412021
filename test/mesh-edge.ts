import { join } from "node:path";
import { freePort } from "../demo/free-port.ts";
import { startRenderedEnvoy } from "../demo/mesh.ts";
import type { DemoWorld, WorldOptions } from "../demo/world.ts";

/** An Envoy at the edge: it takes access tokens, and passes on what it lets through. */
export interface EdgeEnvoy {
  readonly port: number;
  /** `http://127.0.0.1:<port>`; its targets are told apart by Host. */
  readonly url: string;
  /** What the rendering had to say. */
  readonly notes: readonly string[];
  readonly directory: string;
  stop(): Promise<void>;
}

/** Envoys for a world, in front of its upstream or of another one. They are started one by one, by `startEdgeEnvoy`. */
export function edgeEnvoys(
  names: readonly string[],
  more: Readonly<Record<string, unknown>> = {},
): NonNullable<WorldOptions["gateways"]> {
  return (upstream) =>
    Promise.all(
      names.map(async (name) => ({
        name,
        kind: "envoy",
        targets: ["billing"],
        listen: `127.0.0.1:${await freePort()}`,
        upstreams: { billing: upstream },
        ...more,
      })),
    );
}

export async function startEdgeEnvoy({ config, policy, directory }: DemoWorld, name: string): Promise<EdgeEnvoy> {
  const gateway = config.gateways.find((each) => each.name === name);
  if (gateway?.kind !== "envoy") throw new TypeError(`the world has no Envoy ${name}`);
  const folder = join(directory, name);
  const { envoy, notes } = await startRenderedEnvoy({
    config,
    policy,
    gateway,
    directory: folder,
  });
  const { port } = gateway.listen;
  return { port, url: `http://127.0.0.1:${port}`, notes, directory: folder, stop: envoy.stop };
}
