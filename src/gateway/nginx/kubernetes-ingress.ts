import { WayleaveError } from "../../core/errors.ts";
import type { CompiledTarget, Policy } from "../../policy/policy.ts";
import { printResources, type Resource } from "../resources.ts";
import { identityHeaders, originalHeaders, overrideHeaders } from "./header-names.ts";
import { type KubernetesSettings, kubernetesTargets, type Refuse, refuser, serviceOf } from "./kubernetes-settings.ts";
import type { RenderedNginx } from "./render.ts";

/**
 * Ingress resources for the ingress-nginx controller: each asks Wayleave by `auth-url`, without any snippet. Pure; no secret
 * is in them: `renderIngressHeaders` makes the ConfigMaps that have it. Throws `render_refused` naming what the controller's
 * annotations cannot say.
 */
export function renderIngress(settings: KubernetesSettings, policy: Policy): RenderedNginx {
  const targets = checked(settings, policy);
  const resources = targets.map((target) => ingress(settings, target));
  const head = `Wayleave for gateway ${settings.name}: Ingress for ingress-nginx. Rendered; do not edit.`;
  return {
    files: [{ path: "wayleave-ingress.yaml", mode: 0o644, text: printResources(head, settings.name, resources) }],
    notes: [
      "ingress-nginx has had no releases since March 2026; a Gateway API implementation, or NGINX with the plain includes, is the way on.",
      "The controller's ConfigMap must not say enable-underscores-in-headers, or identity headers with _ reach the service.",
      "Snippets are off in the controller, so a refusal has NGINX's own page: 401 and 403 explain themselves in `wayleave explain` only, and its log has no Wayleave fields.",
      "The caller's Authorization is always removed behind the gateway.",
      ...(settings.brokerUrl.startsWith("https:")
        ? [
            "ingress-nginx does not verify the certificate behind auth-url: keep the way to Wayleave inside the cluster.",
          ]
        : [`${settings.brokerUrl} is plain http: tokens and the gateway's secret can be read on the way.`]),
    ],
  };
}

/**
 * The ConfigMaps by which each question names its gateway, secret and target: write them with mode 0600. They also say what
 * the client asked, so that nothing of it is taken from the client's own headers. Throws `render_refused` for a secret that
 * a header cannot carry; the message does not hold it.
 */
export function renderIngressHeaders(settings: KubernetesSettings, policy: Policy, secret: string): string {
  if (!/^[A-Za-z0-9._~+/=-]{16,256}$/.test(secret)) {
    throw new WayleaveError(
      "render_refused",
      "A gateway secret is 16 to 256 letters, digits and ._~+/=-; make a new one.",
    );
  }
  const resources = checked(settings, policy).map(
    ({ name }): Resource => ({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: headersName(settings, name), namespace: settings.namespace },
      data: {
        "X-Wayleave-Gateway": settings.name,
        "X-Wayleave-Gateway-Secret": secret,
        "X-Wayleave-Target": name,
        // X-Original-Method and, with auth-method, X-Original-URI are the controller's own; a second one would be refused.
        "X-Original-Host": "$host",
        "X-Original-Connection": "$http_connection",
        "X-Original-Upgrade": "$http_upgrade",
      },
    }),
  );
  const head = `Wayleave for gateway ${settings.name}: headers of its questions. Rendered; do not edit.\nSECRET: ingress-nginx takes headers from ConfigMaps only; let few read them.`;
  return printResources(head, settings.name, resources);
}

function checked(settings: KubernetesSettings, policy: Policy): CompiledTarget[] {
  const refuse = refuser(settings.name);
  if (!/^https?:\/\/[A-Za-z0-9.-]+(:\d{1,5})?$/.test(settings.brokerUrl)) {
    return refuse("broker_url must be http://host:port or https://host, as auth-url takes no other.");
  }
  const targets = kubernetesTargets(settings, policy);
  for (const target of targets) refuseInexpressible(target, refuse);
  return targets;
}

function refuseInexpressible({ name, mode, sharesRoutes, streams }: CompiledTarget, refuse: Refuse): void {
  const why = (what: string) =>
    refuse(`target ${name} ${what}; use NGINX with the plain includes (wayleave render nginx) for it.`);
  if (mode === "observe")
    why("is observed, and annotations cannot let requests through while Wayleave does not answer");
  if (sharesRoutes)
    why("has routes with unidentified: pass, and annotations cannot remove Authorization from Wayleave's callers only");
  if (streams)
    why("has operations with stream: true, and annotations can neither end a stream nor keep Upgrade from going on");
}

const headersName = ({ name }: KubernetesSettings, target: string): string => `wayleave-${name}-${target}-headers`;

/** A header listed here is set from Wayleave's answer, which removes the client's where the answer has none. */
const answered = [...new Set([...identityHeaders, ...overrideHeaders, ...originalHeaders, "Authorization"])].toSorted();

function ingress(settings: KubernetesSettings, target: CompiledTarget): Resource {
  const prefix = "nginx.ingress.kubernetes.io";
  const service = serviceOf(settings, target.name);
  const backend = { service: { name: service.name, port: { number: service.port } } };
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "Ingress",
    metadata: {
      name: `wayleave-${settings.name}-${target.name}`,
      namespace: settings.namespace,
      annotations: {
        [`${prefix}/auth-url`]: `${settings.brokerUrl}/authz/nginx`,
        // Without it the controller sends no X-Original-URI, and the client's own would be believed.
        [`${prefix}/auth-method`]: "GET",
        [`${prefix}/auth-proxy-set-headers`]: `${settings.namespace}/${headersName(settings, target.name)}`,
        [`${prefix}/auth-response-headers`]: answered.join(","),
      },
    },
    spec: {
      ingressClassName: "nginx",
      rules: target.hosts
        .toSorted()
        .map((host) => ({ host, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } })),
    },
  };
}
