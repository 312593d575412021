import type { Diagnostic } from "../../policy/model.ts";
import { asList, asMap, finding, type ReadResource } from "../read-resources.ts";
import { actionOf } from "./lint-authorization.ts";
import { type MeshConfigFound, placeIn } from "./lint-mesh-config.ts";
import { mayMeet } from "./selecting.ts";

const providerName = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

/** CUSTOM policies and whom they ask. */
export function providerRules(resources: readonly ReadResource[], meshes: readonly MeshConfigFound[]): Diagnostic[] {
  const custom = resources.filter(
    (resource) => resource.kind === "AuthorizationPolicy" && actionOf(resource) === "CUSTOM",
  );
  const known = new Set(
    meshes.flatMap(({ value }) => asList(value.extensionProviders).map((entry) => String(asMap(entry).name))),
  );
  return [
    ...custom.flatMap((policy) => unknownProvider(policy, known)),
    ...custom.flatMap((policy, at) => severalProviders(policy, custom.slice(0, at))),
    ...meshes.flatMap(badNames),
  ];
}

const providerOf = (resource: ReadResource): string => String(asMap(asMap(resource.value.spec).provider).name ?? "");

function unknownProvider(policy: ReadResource, known: ReadonlySet<string>): Diagnostic[] {
  const name = providerOf(policy);
  if (known.has(name)) return [];
  const message =
    known.size === 0
      ? `no MeshConfig here has the provider ${name}; Istio refuses every request of an unknown one`
      : `MeshConfig has no provider ${name}, and Istio then refuses every request`;
  return [
    finding(
      "unknown_provider",
      policy.place(["spec", "provider", "name"]),
      message,
      "add it to extensionProviders, or give its file to the lint",
    ),
  ];
}

/** Older Istio refuses everything at a workload that two providers are asked about. */
function severalProviders(policy: ReadResource, before: readonly ReadResource[]): Diagnostic[] {
  const other = before.find((one) => providerOf(one) !== providerOf(policy) && mayMeet(one, policy));
  if (other === undefined) return [];
  const message = `${providerOf(other)} is asked at some of the same pods (policy ${other.name}); Istio before 1.30 then refuses every request`;
  return [
    finding(
      "several_providers",
      policy.place(["spec", "provider", "name"]),
      message,
      "let one provider answer for a pod",
    ),
  ];
}

function badNames(mesh: MeshConfigFound): Diagnostic[] {
  return asList(mesh.value.extensionProviders).flatMap((entry, at) => {
    const name = String(asMap(entry).name ?? "");
    if (providerName.test(name)) return [];
    const message = `${JSON.stringify(name)} is no provider name to newer Istio, which then refuses every request`;
    return [
      finding(
        "provider_name_invalid",
        placeIn(mesh, ["extensionProviders", at, "name"]),
        message,
        "at most 63 of a-z, 0-9 and -",
      ),
    ];
  });
}
