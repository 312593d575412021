import type { Diagnostic } from "../../policy/model.ts";
import { asList, asMap, asTexts, finding, type Loose, type ReadResource } from "../read-resources.ts";

/** Shapes of AuthorizationPolicy that a request can be written around. */
export function authorizationRules(resources: readonly ReadResource[]): Diagnostic[] {
  return resources
    .filter(({ kind }) => kind === "AuthorizationPolicy")
    .flatMap((resource) => [
      ...dryRun(resource),
      ...operationsOf(resource).flatMap((found) => [...bypassable(resource, found), ...hosts(resource, found)]),
      ...sourcesOf(resource).flatMap((found) => principals(resource, found)),
    ]);
}

interface Found {
  readonly value: Loose;
  readonly path: readonly (string | number)[];
}

export const actionOf = (resource: ReadResource): string => String(asMap(resource.value.spec).action ?? "ALLOW");

export function rulesOf(resource: ReadResource): readonly Found[] {
  return asList(asMap(resource.value.spec).rules).map((rule, at) => ({
    value: asMap(rule),
    path: ["spec", "rules", at],
  }));
}

export function operationsOf(resource: ReadResource): readonly Found[] {
  return rulesOf(resource).flatMap(({ value, path }) =>
    asList(value.to).map((to, at) => ({ value: asMap(asMap(to).operation), path: [...path, "to", at, "operation"] })),
  );
}

function sourcesOf(resource: ReadResource): readonly Found[] {
  return rulesOf(resource).flatMap(({ value, path }) =>
    asList(value.from).map((from, at) => ({ value: asMap(asMap(from).source), path: [...path, "from", at, "source"] })),
  );
}

/** True where some rule asks for a token. */
export function usesClaims(resource: ReadResource): boolean {
  return rulesOf(resource).some(
    ({ value }) =>
      asList(value.from).some((from) => asList(asMap(asMap(from).source).requestPrincipals).length > 0) ||
      asList(value.when).some(
        (when) => String(asMap(when).key).startsWith("request.auth.") && asList(asMap(when).values).length > 0,
      ),
  );
}

function dryRun(resource: ReadResource): Diagnostic[] {
  const key = "istio.io/dry-run";
  const annotations = asMap(asMap(resource.value.metadata).annotations);
  if (String(annotations[key]) !== "true") return [];
  const place = resource.place(["metadata", "annotations", key]);
  return [
    finding(
      "policy_dry_run",
      place,
      "the policy is only tried: nothing is refused by it",
      "take the annotation out to enforce it",
      "warning",
    ),
  ];
}

/** What one spelling matches, another may not: a DENY or an exception by path can be written around. */
function bypassable(resource: ReadResource, { value, path }: Found): Diagnostic[] {
  const action = actionOf(resource);
  const found: Diagnostic[] = [];
  if (action === "DENY" && asList(value.paths).length > 0) {
    const message = "a path that is spelled another way is not refused";
    found.push(
      finding(
        "deny_by_path",
        resource.place([...path, "paths"]),
        message,
        "allow what may be reached instead, by an ALLOW policy",
      ),
    );
  }
  if (action === "ALLOW") {
    for (const key of ["notPaths", "notHosts", "notMethods"].filter((name) => asList(value[name]).length > 0)) {
      const message = "everything but these is allowed, and these when they are spelled another way";
      found.push(finding("allow_by_exception", resource.place([...path, key]), message, "list what is allowed"));
    }
  }
  return found;
}

/** A client may write the port into the host. */
function hosts(resource: ReadResource, { value, path }: Found): Diagnostic[] {
  return ["hosts", "notHosts"].flatMap((key) => {
    const listed = asTexts(value[key]);
    const bare = listed.findIndex((host) => !/[:*]/.test(host) && !listed.includes(`${host}:*`));
    if (bare === -1) return [];
    const message = `${listed[bare]} with a port is another host to Istio`;
    return [finding("host_without_port", resource.place([...path, key, bare]), message, `add "${listed[bare]}:*"`)];
  });
}

/** Istio takes what stands behind the last slash for `sub`. */
function principals(resource: ReadResource, { value, path }: Found): Diagnostic[] {
  return ["requestPrincipals", "notRequestPrincipals"].flatMap((key) => {
    const at = asTexts(value[key]).findIndex(
      (principal) => principal.includes("/spiffe://") && !principal.endsWith("://*"),
    );
    if (at === -1) return [];
    const message = "Istio splits issuer and subject at the last slash, so a subject that is a SPIFFE ID never matches";
    return [
      finding(
        "principal_never_matches",
        resource.place([...path, key, at]),
        message,
        "name the issuer and *, and the subject by request.auth.claims[sub]",
      ),
    ];
  });
}
