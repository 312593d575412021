import { WayleaveError } from "../../core/errors.ts";
import type { PolicyModel, TargetModel } from "../../policy/model.ts";
import { refuseAnyKeep } from "../keep.ts";

/** The workload behind one target. */
export interface LinkerdWorkload {
  readonly target: string;
  /** Pod labels that select it. */
  readonly labels: Readonly<Record<string, string>>;
  /** Port its pods serve. */
  readonly port: number;
}

/** One Linkerd of the inventory, as `render` needs it. It never asks, so it has no broker and no secret. */
export interface LinkerdGatewaySettings {
  readonly name: string;
  readonly targets: readonly string[];
  readonly namespace: string;
  readonly workloads: readonly LinkerdWorkload[];
  readonly meshTrustDomain: string;
  /** 0 where the targets' `on_outage: keep` is not meant for it. */
  readonly keepAtMostMs?: number;
}

export interface FrontedTarget {
  readonly model: TargetModel;
  /** Its pods and their port: what a Server selects. */
  readonly servers: readonly { readonly name: string; readonly workload: LinkerdWorkload }[];
}

const label = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

/** Checks what the renderer relies on. Throws `render_refused`, naming the gateway and the one thing that is wrong. */
export function checkSettings(gateway: LinkerdGatewaySettings, model: PolicyModel): readonly FrontedTarget[] {
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
  const fronted = names.map((name): FrontedTarget => {
    const target = model.targets.find((one) => one.name === name);
    if (target === undefined) return refuse(`policy has no target ${JSON.stringify(name)}; correct targets.`);
    if (target.kind !== "http" && target.kind !== "mesh") {
      return refuse(
        `target ${name} is of kind ${target.kind}, and Linkerd can front only http and mesh; take it out of targets.`,
      );
    }
    refuseAnyKeep(gateway, target, "Linkerd never asks: it goes on for as long as a certificate lives");
    if (!label.test(`wayleave-${gateway.name}-${name}`)) {
      return refuse(
        `target ${name} cannot be part of a name in Kubernetes: at most 63 of a-z, 0-9 and - with the gateway's.`,
      );
    }
    return { model: target, servers: serversOf(gateway, name, refuse) };
  });
  refuseShared(fronted, refuse);
  return fronted;
}

function serversOf(
  gateway: LinkerdGatewaySettings,
  target: string,
  refuse: (what: string) => never,
): FrontedTarget["servers"] {
  const workloads = gateway.workloads.filter((workload) => workload.target === target);
  if (workloads.length === 0) return refuse(`target ${target} has no workload; add one under workloads.`);
  for (const { labels, port } of workloads) {
    if (Object.keys(labels).length === 0)
      refuse(`a workload of target ${target} has no labels and would select every pod.`);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) refuse(`port ${port} of target ${target} is no port.`);
  }
  const key = ({ labels, port }: LinkerdWorkload) =>
    JSON.stringify([Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)), port]);
  return workloads
    .toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
    .map((workload, index) => ({
      name: `wayleave-${gateway.name}-${target}${index === 0 ? "" : `-${index + 1}`}`,
      workload,
    }));
}

/** Two Servers of one pod and port contradict each other, and Linkerd takes the older. */
function refuseShared(fronted: readonly FrontedTarget[], refuse: (what: string) => never): void {
  const all = fronted.flatMap(({ servers }) => servers);
  for (const [index, { name, workload }] of all.entries()) {
    const other = all.slice(index + 1).find((next) => {
      const same = Object.entries(workload.labels).every(
        ([key, value]) => !Object.hasOwn(next.workload.labels, key) || next.workload.labels[key] === value,
      );
      return same && next.workload.port === workload.port;
    });
    if (other === undefined) continue;
    refuse(
      `the workloads of ${name} and ${other.name} can be one pod and port; Linkerd would keep only one of the two Servers. Give them labels of which one differs.`,
    );
  }
}
