import { WayleaveError } from "../../core/errors.ts";
import type { CompiledTarget, Policy } from "../../policy/policy.ts";
import { refuseAnyKeep } from "../keep.ts";

/** What stands behind a target in the cluster. */
export interface KubernetesService {
  readonly name: string;
  readonly port: number;
}

/** One NGINX of the inventory that runs in Kubernetes. */
export interface KubernetesSettings {
  readonly name: string;
  /** Where it reaches Wayleave: http or https. */
  readonly brokerUrl: string;
  readonly targets: readonly string[];
  readonly namespace: string;
  /** By target; absent: a service of the target's name, port 80. */
  readonly services: Readonly<Record<string, KubernetesService>>;
  /** 0 where an outage denies whatever the targets say. */
  readonly keepAtMostMs?: number;
}

const label = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

export type Refuse = (what: string) => never;

export function refuser(gateway: string): Refuse {
  return (what) => {
    throw new WayleaveError("render_refused", `Gateway ${gateway}: ${what}`);
  };
}

/** The gateway's targets, sorted, each fit for a resource. Throws `render_refused` naming the one thing that is wrong. */
export function kubernetesTargets(settings: KubernetesSettings, policy: Policy): CompiledTarget[] {
  const refuse = refuser(settings.name);
  if (!label.test(settings.name)) refuse("its name must be a Kubernetes label: a-z, 0-9 and -.");
  if (!label.test(settings.namespace))
    refuse(`namespace ${JSON.stringify(settings.namespace)} is no Kubernetes namespace.`);
  if (settings.targets.length === 0) refuse("it fronts no target; list them under targets.");
  const names = [...new Set(settings.targets)].toSorted();
  const stray = Object.keys(settings.services).find((name) => !names.includes(name));
  if (stray !== undefined) refuse(`a service is given for ${JSON.stringify(stray)}, which it does not front.`);
  return names.map((name) => {
    const target = frontable(policy.targets.get(name), name, refuse);
    refuseAnyKeep(settings, target, "a controller keeps no answers");
    return target;
  });
}

function frontable(target: CompiledTarget | undefined, name: string, refuse: Refuse): CompiledTarget {
  if (target === undefined) return refuse(`policy has no target ${JSON.stringify(name)}; correct targets.`);
  if (target.kind !== "http") return refuse(`target ${name} is of kind ${target.kind}, and NGINX can front only http.`);
  if (!label.test(name)) return refuse(`target ${name} cannot be part of a name in Kubernetes; rename it.`);
  if (target.hosts.some((host) => host.includes("${"))) {
    return refuse(`target ${name} has hosts with templates, and a resource needs hosts written out; list them.`);
  }
  return target;
}

export function serviceOf(settings: KubernetesSettings, target: string): KubernetesService {
  return Object.hasOwn(settings.services, target)
    ? (settings.services[target] as KubernetesService)
    : { name: target, port: 80 };
}
