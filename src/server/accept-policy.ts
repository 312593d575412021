import type { Config } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { refuseImpossibleEvents } from "./events.ts";
import type { LoadedPolicy } from "./policy-source.ts";

/** Throws where this installation cannot run by the policy. */
export function acceptPolicy(config: Config, { policy }: LoadedPolicy): void {
  refuseUnknownTargets(config, policy.targets);
  refuseImpossibleEvents(policy, config);
}

/** A gateway that fronts what policy does not have would refuse everything there, and say it enforces it. */
function refuseUnknownTargets(config: Config, targets: LoadedPolicy["policy"]["targets"]): void {
  for (const gateway of config.gateways) {
    const misplaced = gateway.targets.find(
      (name) => targets.has(name) && (targets.get(name)?.kind === "nats") !== (gateway.kind === "nats"),
    );
    if (misplaced !== undefined) {
      throw new WayleaveError(
        "config_invalid",
        `Gateway ${gateway.name} is of kind ${gateway.kind} and cannot front ${misplaced}, a target of kind ${targets.get(misplaced)?.kind}.`,
      );
    }
    const unknown = gateway.targets.find((name) => !targets.has(name));
    if (unknown === undefined) continue;
    const known = [...targets.keys()].join(", ");
    throw new WayleaveError(
      "config_invalid",
      `Gateway ${gateway.name} fronts target ${JSON.stringify(unknown)}, which the policy does not have; it has: ${known}.`,
    );
  }
}
