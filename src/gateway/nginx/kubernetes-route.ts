import type { CompiledTarget, Policy } from "../../policy/policy.ts";
import { printResources, type Resource } from "../resources.ts";
import { identityHeaders } from "./header-names.ts";
import { type KubernetesSettings, kubernetesTargets, refuser, serviceOf } from "./kubernetes-settings.ts";
import type { RenderedNginx } from "./render.ts";

export interface RouteSettings extends KubernetesSettings {
  /** Gateway that the routes hang on. */
  readonly parent: { readonly name: string; readonly namespace?: string };
  /** The implementation's own filter that asks Wayleave, made by hand. */
  readonly filter?: { readonly group: string; readonly kind: string; readonly name: string };
}

/**
 * HTTPRoutes of the Gateway API: hosts, backend, the strip of identity headers, and the implementation's own filter that
 * asks. Pure. Throws `render_refused` where no filter is named: the standard's ExternalAuth cannot say which gateway asks.
 */
export function renderHttpRoutes(settings: RouteSettings, policy: Policy): RenderedNginx {
  const refuse = refuser(settings.name);
  const { filter } = settings;
  if (filter === undefined) {
    return refuse(
      "Gateway API has no way to ask with the gateway's own name and secret (its ExternalAuth filter adds no headers), so Wayleave could not know who asks; name your implementation's own filter with --filter group/kind/name.",
    );
  }
  if (
    ![filter.group, filter.kind, filter.name].every((part) => /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(part))
  ) {
    return refuse("the filter must be group/kind/name, such as gateway.nginx.org/SnippetsFilter/wayleave.");
  }
  const targets = kubernetesTargets(settings, policy);
  const resources = targets.map((target) => route(settings, filter, target));
  return {
    files: [
      {
        path: "wayleave-routes.yaml",
        mode: 0o644,
        text: printResources(
          `Wayleave for gateway ${settings.name}: Gateway API. Rendered; do not edit.`,
          settings.name,
          resources,
        ),
      },
    ],
    notes: [
      `Who is asked, and that nothing passes without an answer, is in ${filter.kind} ${filter.name}: Wayleave does not see it.`,
      "The standard removes 16 headers at most: X-HTTP-Method-Override, X-Original-URL and others that change a request are left to the filter, as is every spelling with _.",
      "Authorization goes on to the service unless the filter removes it.",
      ...targets
        .filter(({ mode }) => mode === "observe")
        .map(
          ({ name }) =>
            `target ${name} is observed: whether requests pass while Wayleave does not answer is the filter's to say.`,
        ),
      ...targets
        .filter(({ streams }) => streams)
        .map(({ name }) => `target ${name} has operations with stream: true, which nothing here ends.`),
    ],
  };
}

function route(
  settings: RouteSettings,
  filter: NonNullable<RouteSettings["filter"]>,
  target: CompiledTarget,
): Resource {
  const service = serviceOf(settings, target.name);
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "HTTPRoute",
    metadata: { name: `wayleave-${settings.name}-${target.name}`, namespace: settings.namespace },
    spec: {
      parentRefs: [settings.parent],
      hostnames: target.hosts.toSorted(),
      rules: [
        {
          matches: [{ path: { type: "PathPrefix", value: "/" } }],
          filters: [
            { type: "RequestHeaderModifier", requestHeaderModifier: { remove: identityHeaders.toSorted() } },
            { type: "ExtensionRef", extensionRef: filter },
          ],
          backendRefs: [{ name: service.name, port: service.port }],
        },
      ],
    },
  };
}
