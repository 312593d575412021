import type { Diagnostic } from "../../policy/model.ts";
import { asList, asMap, asTexts, finding, type ReadResource } from "../read-resources.ts";
import { actionOf, operationsOf, rulesOf } from "./lint-authorization.ts";
import { labelsOf } from "./selecting.ts";

const http = /^(http|http2|https|grpc|grpc-web)(-|$)/;
const appHttp = /^(http|https|http2|grpc|grpc-web|kubernetes\.io\/(h2c|ws)|)$/;

/**
 * Policies that speak of HTTP at ports that Istio takes for TCP: a DENY then refuses everything or nothing, and an ALLOW
 * rule is dropped. Judged by the names and `appProtocol` of the Services among the files.
 */
export function portRules(resources: readonly ReadResource[]): Diagnostic[] {
  const policies = resources.filter((resource) => resource.kind === "AuthorizationPolicy" && speaksHttp(resource));
  return resources
    .filter(({ kind }) => kind === "Service")
    .flatMap((service) =>
      policies.filter((policy) => fronts(service, policy)).flatMap((policy) => ports(service, policy)),
    );
}

function speaksHttp(resource: ReadResource): boolean {
  const byOperation = operationsOf(resource).some(({ value }) =>
    ["hosts", "methods", "paths", "notHosts", "notMethods", "notPaths"].some((key) => asList(value[key]).length > 0),
  );
  const byClaims = rulesOf(resource).some(({ value }) =>
    asList(value.when).some((when) => /^request\./.test(String(asMap(when).key))),
  );
  return byOperation || byClaims;
}

function fronts(service: ReadResource, policy: ReadResource): boolean {
  if (service.namespace !== policy.namespace) return false;
  const selector = asMap(asMap(service.value.spec).selector);
  const wanted = labelsOf(policy);
  return Object.entries(wanted).every(([key, value]) => !Object.hasOwn(selector, key) || selector[key] === value);
}

function ports(service: ReadResource, policy: ReadResource): Diagnostic[] {
  const named = new Set(operationsOf(policy).flatMap(({ value }) => asTexts(value.ports)));
  return asList(asMap(service.value.spec).ports).flatMap((entry, at) => {
    const port = asMap(entry);
    const target = String(port.targetPort ?? port.port);
    const known = named.size === 0 || named.has(target);
    const protocol = port.appProtocol;
    const isHttp = protocol === undefined ? http.test(String(port.name ?? "")) : appHttp.test(String(protocol));
    if (!known || isHttp) return [];
    const message = `Istio guesses this port's protocol, or takes it for TCP, where ${actionOf(policy)} policy ${policy.name} ${actionOf(policy) === "DENY" ? "cannot look at requests" : "loses its rules"}`;
    return [
      finding(
        "http_rule_on_tcp_port",
        service.place(["spec", "ports", at]),
        message,
        "name the port http-… or say appProtocol: http",
      ),
    ];
  });
}
