import type { TargetModel } from "../../policy/model.ts";

/** The domains by which Envoy finds a target's virtual host. */
export interface Domains {
  /** Hosts as they are; `*` for a mesh target, which has none: the mesh proves which service was called. */
  readonly exact: readonly string[];
  /** What hosts with templates end with, `*.review.acme.example`: more than they are, so each request is asked about. */
  readonly templated: readonly string[];
}

/** With the listener's port and without, since clients send both. */
export function domainsOf({ kind, hosts }: TargetModel, port: number): Domains {
  if (kind === "mesh") return { exact: ["*"], templated: [] };
  const withPort = (names: readonly string[]) =>
    [...new Set(names.flatMap((host) => [host, `${host}:${port}`]))].sort();
  const templated = hosts.filter((host) => host.includes("${"));
  return {
    exact: withPort(hosts.filter((host) => !host.includes("${"))),
    templated: withPort(templated.map((host) => `*${host.slice(host.lastIndexOf("}") + 1)}`)),
  };
}
