import type { Diagnostic } from "../../policy/model.ts";
import {
  asList,
  asMap,
  asTexts,
  finding,
  type ReadResource,
  readResources,
  sortedFindings,
  type TextFile,
} from "../read-resources.ts";

/**
 * What in Linkerd's policy resources would let requests past, or take a policy's effect away; by file, line and code. Only
 * what the files hold is seen. Not checked: what Linkerd's own schemas refuse (`linkerd check`, `kubectl apply --dry-run`).
 */
export function lintLinkerd(files: readonly TextFile[]): Diagnostic[] {
  const { resources, diagnostics } = readResources(files);
  return sortedFindings([
    ...diagnostics,
    ...resources.flatMap((resource) => rules[resource.kind]?.(resource, resources) ?? []),
  ]);
}

type Rule = (resource: ReadResource, all: readonly ReadResource[]) => Diagnostic[];

const rules: Readonly<Record<string, Rule>> = {
  Server: (resource) => [...openServer(resource), ...selectors(resource)],
  AuthorizationPolicy: (resource, all) => [...danglingTarget(resource, all), ...danglingAuthentications(resource, all)],
  MeshTLSAuthentication: anyIdentity,
  NetworkAuthentication: wholeNetwork,
  HTTPRoute: danglingParents,
};

const isOurs = (resource: ReadResource): boolean =>
  String(resource.value.apiVersion ?? "").startsWith("policy.linkerd.io/");

/** Whatever no AuthorizationPolicy names falls to the Server. */
function openServer(resource: ReadResource): Diagnostic[] {
  const access = asMap(resource.value.spec).accessPolicy ?? "deny";
  if (access === "deny") return [];
  const place = resource.place(["spec", "accessPolicy"]);
  if (access === "audit") {
    return [
      finding(
        "server_audits",
        place,
        "requests that no policy allows are let through and marked",
        "say deny to enforce",
        "warning",
      ),
    ];
  }
  return [
    finding("server_open", place, `${String(access)} lets callers in that no AuthorizationPolicy names`, "say deny"),
  ];
}

function selectors(resource: ReadResource): Diagnostic[] {
  const spec = asMap(resource.value.spec);
  const count = ["podSelector", "externalWorkloadSelector"].filter((key) => spec[key] !== undefined).length;
  if (count === 1) return [];
  const message = count === 0 ? "it selects no workload" : "it has two selectors, of which one may stand here";
  return [finding("server_selector", resource.place(["spec"]), message, "say podSelector or externalWorkloadSelector")];
}

/** A policy with a reference to nothing is ignored, and the Server's accessPolicy stands. */
function danglingTarget(resource: ReadResource, all: readonly ReadResource[]): Diagnostic[] {
  if (!isOurs(resource)) return [];
  const ref = asMap(asMap(resource.value.spec).targetRef);
  const kind = String(ref.kind ?? "");
  if (kind === "Namespace" || known(all, kind, String(ref.name), resource.namespace)) return [];
  const message = `no ${kind} ${String(ref.name)} in namespace ${resource.namespace} among these files: the policy is ignored`;
  return [
    finding(
      "dangling_reference",
      resource.place(["spec", "targetRef"]),
      message,
      "correct the name, or give its file to the lint",
    ),
  ];
}

function danglingAuthentications(resource: ReadResource, all: readonly ReadResource[]): Diagnostic[] {
  if (!isOurs(resource)) return [];
  const refs = asList(asMap(resource.value.spec).requiredAuthenticationRefs);
  if (refs.length === 0) {
    const message = "it requires no authentication: everybody may use its target";
    return [finding("no_authentication_required", resource.place(["spec"]), message, "name a MeshTLSAuthentication")];
  }
  return refs.flatMap((entry, at) => {
    const ref = asMap(entry);
    const kind = String(ref.kind ?? "");
    const namespace = String(ref.namespace ?? resource.namespace);
    if (kind === "ServiceAccount" || known(all, kind, String(ref.name), namespace)) return [];
    const message = `no ${kind} ${String(ref.name)} in namespace ${namespace} among these files: the policy is ignored`;
    return [
      finding(
        "dangling_reference",
        resource.place(["spec", "requiredAuthenticationRefs", at]),
        message,
        "correct the name, or give its file to the lint",
      ),
    ];
  });
}

function danglingParents(resource: ReadResource, all: readonly ReadResource[]): Diagnostic[] {
  return asList(asMap(resource.value.spec).parentRefs).flatMap((entry, at) => {
    const ref = asMap(entry);
    const name = String(ref.name);
    if (ref.kind !== "Server" || known(all, "Server", name, String(ref.namespace ?? resource.namespace))) return [];
    const message = `no Server ${name} among these files: the route belongs to nothing`;
    return [
      finding(
        "dangling_reference",
        resource.place(["spec", "parentRefs", at]),
        message,
        "correct the name, or give its file to the lint",
      ),
    ];
  });
}

const known = (all: readonly ReadResource[], kind: string, name: string, namespace: string): boolean =>
  all.some((one) => one.kind === kind && one.name === name && one.namespace === namespace);

function anyIdentity(resource: ReadResource): Diagnostic[] {
  return asTexts(asMap(resource.value.spec).identities).flatMap((identity, at) => {
    if (!identity.startsWith("*")) return [];
    const place = resource.place(["spec", "identities", at]);
    const message =
      identity === "*"
        ? "every workload of the mesh is named"
        : "every identity with this ending is named, those of new workloads too";
    return [finding("any_identity", place, message, "name each service account")];
  });
}

function wholeNetwork(resource: ReadResource): Diagnostic[] {
  return asList(asMap(resource.value.spec).networks).flatMap((entry, at) => {
    const cidr = String(asMap(entry).cidr);
    if (!cidr.endsWith("/0")) return [];
    const message = `${cidr} is everybody, without an identity`;
    return [
      finding(
        "any_network",
        resource.place(["spec", "networks", at, "cidr"]),
        message,
        "right only for routes that say unidentified: pass",
        "warning",
      ),
    ];
  });
}
