import type { PolicySourceConfig } from "./config.ts";

/** A policy source as the configuration writes it. */
export interface WrittenSource {
  readonly name: string;
  readonly path: string;
  readonly projects?: readonly string[] | undefined;
  readonly targets?: readonly string[] | undefined;
  readonly hosts?: readonly string[] | undefined;
}

/** Naming projects, targets or hosts bounds a source: what it does not name then, it has none of. */
export function boundsOf({ projects, targets, hosts }: WrittenSource): Pick<PolicySourceConfig, "bounds"> {
  if (projects === undefined && targets === undefined && hosts === undefined) return {};
  return { bounds: { projects: projects ?? [], targets: targets ?? [], hosts: hosts ?? [] } };
}
