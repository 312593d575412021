import type { Diagnostic } from "../../policy/model.ts";
import { readResources, sortedFindings, type TextFile } from "../read-resources.ts";
import { authenticationRules } from "./lint-authentication.ts";
import { authorizationRules } from "./lint-authorization.ts";
import { meshConfigRules, meshConfigs } from "./lint-mesh-config.ts";
import { portRules } from "./lint-ports.ts";
import { providerRules } from "./lint-providers.ts";
import type { LintWorkload } from "./selecting.ts";

export interface IstioLintInput {
  readonly files: readonly TextFile[];
  /** Workloads that must speak mutual TLS: with them, one without a STRICT PeerAuthentication is found too. */
  readonly workloads?: readonly LintWorkload[];
}

/**
 * What in a mesh's resources would let requests past the rendered ones, or take their effect away; by file, line and code.
 * Only what the files hold is seen: MeshConfig, services and namespaces that are not given are not judged, but for MeshConfig
 * where a policy asks a provider. Not checked: what Istio's own schemas refuse (`istioctl validate`).
 */
export function lintIstio({ files, workloads = [] }: IstioLintInput): Diagnostic[] {
  const { resources, diagnostics } = readResources(files);
  const meshes = meshConfigs(resources);
  return sortedFindings([
    ...diagnostics,
    ...authenticationRules(resources, workloads),
    ...authorizationRules(resources),
    ...portRules(resources),
    ...providerRules(resources, meshes),
    ...meshConfigRules(meshes),
  ]);
}
