import { parse } from "yaml";
import type { Diagnostic } from "../../policy/model.ts";
import { asList, asMap, finding, type Loose, type ReadResource } from "../read-resources.ts";

/** MeshConfig, wherever it stood: by itself, in IstioOperator or Helm values, or as text in Istio's ConfigMap. */
export interface MeshConfigFound {
  readonly resource: ReadResource;
  readonly value: Loose;
  /** Its path in the resource; undefined for text in a ConfigMap, whose parts have no place of their own. */
  readonly path: readonly (string | number)[] | undefined;
  /** Part of one: it says nothing of what it leaves out. */
  readonly part: boolean;
}

export function meshConfigs(resources: readonly ReadResource[]): MeshConfigFound[] {
  return resources.flatMap((resource): MeshConfigFound[] => {
    const { value, kind } = resource;
    if (kind === "ConfigMap") {
      const text = asMap(value.data).mesh;
      return typeof text === "string" ? [{ resource, value: readText(text), path: undefined, part: false }] : [];
    }
    if (kind === "IstioOperator")
      return [{ resource, value: asMap(asMap(value.spec).meshConfig), path: ["spec", "meshConfig"], part: false }];
    if (kind !== "") return [];
    if (value.meshConfig !== undefined)
      return [{ resource, value: asMap(value.meshConfig), path: ["meshConfig"], part: false }];
    const known = value.extensionProviders !== undefined || value.pathNormalization !== undefined;
    return known ? [{ resource, value, path: [], part: value.pathNormalization === undefined }] : [];
  });
}

function readText(text: string): Loose {
  try {
    return asMap(parse(text));
  } catch {
    return {}; // Istio cannot read it either; `istioctl validate` says so
  }
}

export function placeIn({ resource, path }: MeshConfigFound, more: readonly (string | number)[]) {
  return resource.place(path === undefined ? ["data", "mesh"] : [...path, ...more]);
}

export function meshConfigRules(found: readonly MeshConfigFound[]): Diagnostic[] {
  return found.flatMap((mesh) => [...normalization(mesh), ...failOpen(mesh)]);
}

function normalization(mesh: MeshConfigFound): Diagnostic[] {
  if (mesh.part) return [];
  const mode = asMap(mesh.value.pathNormalization).normalization ?? "DEFAULT";
  if (mode === "MERGE_SLASHES" || mode === "DECODE_AND_MERGE_SLASHES") return [];
  const message = `${String(mode)} leaves // as it is, so that a service may see another path than the policies did`;
  return [
    finding(
      "path_normalization_weak",
      placeIn(mesh, ["pathNormalization", "normalization"]),
      message,
      "say MERGE_SLASHES (or DECODE_AND_MERGE_SLASHES)",
    ),
  ];
}

function failOpen(mesh: MeshConfigFound): Diagnostic[] {
  return asList(mesh.value.extensionProviders).flatMap((entry, at) => {
    const provider = asMap(entry);
    return ["envoyExtAuthzHttp", "envoyExtAuthzGrpc"].flatMap((key) => {
      if (asMap(provider[key]).failOpen !== true) return [];
      const message = `every request passes while ${String(provider.name)} does not answer`;
      return [
        finding(
          "provider_fails_open",
          placeIn(mesh, ["extensionProviders", at, key, "failOpen"]),
          message,
          "say false; only an observed target's provider is rendered so",
          "warning",
        ),
      ];
    });
  });
}
