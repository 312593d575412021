import type { Diagnostic } from "../../policy/model.ts";
import { asList, asMap, finding, type Loose, type ReadResource } from "../read-resources.ts";
import { usesClaims } from "./lint-authorization.ts";
import { type LintWorkload, mayMeet, selects } from "./selecting.ts";

/** Who may connect, and whose tokens are believed. */
export function authenticationRules(
  resources: readonly ReadResource[],
  workloads: readonly LintWorkload[],
): Diagnostic[] {
  const ofKind = (kind: string) => resources.filter((resource) => resource.kind === kind);
  const peers = ofKind("PeerAuthentication");
  return [
    ...peers.flatMap(mtlsModes),
    ...workloads.flatMap((workload) => missingMtls(peers, workload, resources)),
    ...ofKind("RequestAuthentication").flatMap((resource) => [
      ...withoutAllow(resource, ofKind("AuthorizationPolicy")),
      ...jwtRules(resource),
    ]),
    ...ofKind("EnvoyFilter").flatMap(unvalidated),
  ];
}

function mtlsModes(resource: ReadResource): Diagnostic[] {
  const spec = asMap(resource.value.spec);
  const modes: [unknown, (string | number)[]][] = [
    [asMap(spec.mtls).mode, ["spec", "mtls", "mode"]],
    ...Object.entries(asMap(spec.portLevelMtls)).map(([port, level]): [unknown, (string | number)[]] => [
      asMap(level).mode,
      ["spec", "portLevelMtls", port, "mode"],
    ]),
  ];
  return modes
    .filter(
      ([mode, path]) =>
        mode !== "STRICT" && (mode !== undefined || path.length > 3 || spec.portLevelMtls === undefined),
    )
    .map(([mode, path]) =>
      finding(
        "mtls_permissive",
        resource.place(path),
        `${mode === undefined ? "without a mode, what stands above applies, PERMISSIVE at last" : `${String(mode)} lets callers in without a certificate`}`,
        "say STRICT",
      ),
    );
}

function missingMtls(
  peers: readonly ReadResource[],
  workload: LintWorkload,
  resources: readonly ReadResource[],
): Diagnostic[] {
  const strict = peers.filter((peer) => asMap(asMap(peer.value.spec).mtls).mode === "STRICT");
  const covered = strict.some((peer) => selects(peer, workload.namespace, workload.labels));
  const [first] = resources;
  if (covered || first === undefined) return [];
  const message = `no PeerAuthentication here makes target ${workload.target} (namespace ${workload.namespace}) STRICT`;
  return [
    finding(
      "mtls_missing",
      { ...first.place([]), line: 1, column: 1, length: 1 },
      message,
      "apply the rendered PeerAuthentication",
    ),
  ];
}

/** A request without a token passes a RequestAuthentication. */
function withoutAllow(resource: ReadResource, policies: readonly ReadResource[]): Diagnostic[] {
  const allowed = policies.some(
    (policy) =>
      (asMap(policy.value.spec).action ?? "ALLOW") === "ALLOW" && usesClaims(policy) && mayMeet(policy, resource),
  );
  if (allowed) return [];
  const message = "a request without a token passes this; no ALLOW policy of these pods asks for one";
  return [
    finding(
      "jwt_without_allow",
      resource.place(["spec"]),
      message,
      "add an ALLOW policy with requestPrincipals or request.auth.claims",
    ),
  ];
}

function jwtRules(resource: ReadResource): Diagnostic[] {
  return asList(asMap(resource.value.spec).jwtRules).flatMap((rule, index) =>
    jwtRule(resource, asMap(rule), ["spec", "jwtRules", index]),
  );
}

function jwtRule(resource: ReadResource, rule: Loose, path: readonly (string | number)[]): Diagnostic[] {
  const at = (...more: string[]) => resource.place([...path, ...more]);
  const found: Diagnostic[] = [];
  if (rule.jwks === undefined) {
    const message =
      rule.jwksUri === undefined ? "keys are looked up by the issuer's discovery" : "keys are fetched by jwksUri";
    found.push(
      finding(
        "jwks_by_uri",
        at("jwksUri"),
        `${message}, and kept for 20 min: a revoked key stays good for as long`,
        "put the keys in by jwks; render does",
      ),
    );
  }
  if (asList(rule.audiences).length === 0) {
    found.push(
      finding(
        "audience_unchecked",
        at("audiences"),
        "a token for any other service is good here too",
        "name the target under audiences",
      ),
    );
  }
  if (
    asList(rule.fromParams).length > 0 ||
    (asList(rule.fromHeaders).length === 0 && asList(rule.fromCookies).length === 0)
  ) {
    const message = "a token in the query is taken too, and queries are logged";
    found.push(
      finding(
        "token_in_query",
        at("fromParams"),
        message,
        "say fromHeaders with Authorization and Bearer, and no fromParams",
      ),
    );
  }
  if (rule.forwardOriginalToken === true) {
    const message = "the caller's token goes on to the service, which can use it elsewhere";
    found.push(finding("token_forwarded", at("forwardOriginalToken"), message, "say false, or leave it out"));
  }
  return found;
}

/** Envoy's own switch that reads claims without a look at the signature. */
function unvalidated(resource: ReadResource): Diagnostic[] {
  return deep(resource.value, [])
    .filter(({ key }) => key === "extract_only_without_validation" || key === "extractOnlyWithoutValidation")
    .map(({ path }) =>
      finding(
        "extract_without_validation",
        resource.place(path),
        "claims are read from tokens whose signature nobody checked",
        "take it out; require the provider instead",
      ),
    );
}

function deep(
  value: unknown,
  path: readonly (string | number)[],
): { key: string; path: readonly (string | number)[] }[] {
  if (path.length > 40) return [];
  if (Array.isArray(value)) return value.flatMap((item, at) => deep(item, [...path, at]));
  return Object.entries(asMap(value)).flatMap(([key, item]) => [
    { key, path: [...path, key] },
    ...deep(item, [...path, key]),
  ]);
}
