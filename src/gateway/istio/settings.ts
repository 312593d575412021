import { WayleaveError } from "../../core/errors.ts";
import type { PolicyModel, TargetModel } from "../../policy/model.ts";
import { refuseAnyKeep } from "../keep.ts";
import { compare } from "./plan.ts";

/** The workload behind one target. */
export interface IstioWorkload {
  readonly target: string;
  /** Pod labels that select it. */
  readonly labels: Readonly<Record<string, string>>;
  /** Port its pods serve. */
  readonly port: number;
}

/** One Istio of the inventory, as `render` needs it. */
export interface IstioGatewaySettings {
  readonly name: string;
  readonly targets: readonly string[];
  /** Where sidecars reach Wayleave: a name the mesh can resolve, not an address. */
  readonly brokerUrl: string;
  /** `native`: by claims wherever they say the same; `call_out`: every request is asked about. */
  readonly mode: "native" | "call_out";
  readonly namespace: string;
  readonly workloads: readonly IstioWorkload[];
  readonly meshTrustDomain: string;
  /** 0 where an outage denies whatever the targets say. */
  readonly keepAtMostMs?: number;
}

/** The settings, checked. */
export interface CheckedSettings extends Omit<IstioGatewaySettings, "targets" | "brokerUrl"> {
  /** Sorted by name, each with its workloads. */
  readonly targets: readonly FrontedTarget[];
  readonly broker: Broker;
}

export interface FrontedTarget {
  readonly model: TargetModel;
  readonly workloads: readonly IstioWorkload[];
  /** Name of the provider that asks about it, unique in the mesh. */
  readonly provider: string;
}

export interface Broker {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** A service of the cluster, which the mesh knows already. */
  readonly inside: boolean;
}

/**
 * Longest life of an access token for a target that Istio fronts, in ms: a sidecar learns of a session's end only by
 * configuration, so the token's own end has to bound it. The exchange caps tokens for these targets.
 */
export const istioTokenTtlMs = 120_000;

/** Checks what the renderer relies on. Throws `render_refused`, naming the gateway and the one thing that is wrong. */
export function checkSettings(gateway: IstioGatewaySettings, model: PolicyModel): CheckedSettings {
  const refuse = (what: string): never => {
    throw new WayleaveError("render_refused", `Gateway ${gateway.name}: ${what}`);
  };
  if (!label.test(gateway.name)) refuse("its name must be a Kubernetes label: a-z, 0-9 and -.");
  if (!label.test(gateway.namespace))
    refuse(`namespace ${JSON.stringify(gateway.namespace)} is no Kubernetes namespace.`);
  if (gateway.targets.length === 0) refuse("it fronts no target; list them under targets.");
  const names = [...new Set(gateway.targets)].toSorted();
  const stray = gateway.workloads.find(({ target }) => !names.includes(target));
  if (stray) refuse(`a workload is of target ${JSON.stringify(stray.target)}, which is not under targets.`);
  const targets = names.map((name) => fronted(gateway, name, model, refuse));
  refuseShared(targets, refuse);
  return { ...gateway, targets, broker: parseBroker(gateway.brokerUrl, refuse) };
}

const label = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

function fronted(
  gateway: IstioGatewaySettings,
  name: string,
  model: PolicyModel,
  refuse: (what: string) => never,
): FrontedTarget {
  const target = model.targets.find((one) => one.name === name);
  if (target === undefined) return refuse(`policy has no target ${JSON.stringify(name)}; correct targets.`);
  if (target.kind !== "http" && target.kind !== "mesh") {
    return refuse(
      `target ${name} is of kind ${target.kind}, and Istio can front only http and mesh; take it out of targets.`,
    );
  }
  const provider = `wayleave-${gateway.name}-${name}`;
  refuseAnyKeep(
    gateway,
    target,
    "a sidecar keeps no answers, and what it decides by itself goes on until the token ends",
  );
  if (!label.test(`${provider}-log`)) {
    return refuse(
      `target ${name} cannot be part of a name in Kubernetes: ${provider} must be at most 63 of a-z, 0-9 and -.`,
    );
  }
  const workloads = gateway.workloads.filter((workload) => workload.target === name);
  if (workloads.length === 0) return refuse(`target ${name} has no workload; add one under workloads.`);
  for (const { labels, port } of workloads) {
    if (Object.keys(labels).length === 0)
      return refuse(`a workload of target ${name} has no labels and would select every pod.`);
    if (!Number.isInteger(port) || port < 1 || port > 65_535)
      return refuse(`port ${port} of target ${name} is no port.`);
  }
  return { model: target, workloads: workloads.toSorted((a, b) => compare(printed(a), printed(b))), provider };
}

const printed = ({ labels, port }: IstioWorkload): string =>
  JSON.stringify([Object.entries(labels).toSorted(([a], [b]) => compare(a, b)), port]);

/** Policies select pods by labels, so two targets of one pod would be asked about by two providers, and one be denied. */
function refuseShared(targets: readonly FrontedTarget[], refuse: (what: string) => never): void {
  const all = targets.flatMap(({ model, workloads }) => workloads.map((workload) => ({ name: model.name, workload })));
  for (const [index, { name, workload }] of all.entries()) {
    const other = all.slice(index + 1).find((next) => next.name !== name && mayShare(next.workload, workload));
    if (other === undefined) continue;
    refuse(
      `the labels of targets ${name} and ${other.name} can select one pod; Istio applies both targets' policies to it. Give them labels of which one differs.`,
    );
  }
}

function mayShare(a: IstioWorkload, b: IstioWorkload): boolean {
  return Object.entries(a.labels).every(([key, value]) => !Object.hasOwn(b.labels, key) || b.labels[key] === value);
}

function parseBroker(text: string, refuse: (what: string) => never): Broker {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const plain = url !== undefined && url.pathname === "/" && url.search + url.hash + url.username + url.password === "";
  if (!plain || !["http:", "https:"].includes(url.protocol))
    return refuse("broker_url must be https://host or http://host:port.");
  const host = url.hostname;
  if (host === "localhost" || host.endsWith(".localhost") || /^[\d.]+$|:/.test(host)) {
    return refuse(
      `broker_url names ${host}, which the mesh cannot reach by name; give Wayleave a name its pods can resolve.`,
    );
  }
  const tls = url.protocol === "https:";
  const port = Number(url.port || (tls ? 443 : 80));
  return { host, port, tls, inside: /\.svc(\.|$)/.test(host) };
}
