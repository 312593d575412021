import { join, resolve } from "node:path";
import type { GatewayConfig, NginxGatewayConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import type { KubernetesService } from "../gateway/nginx/kubernetes-settings.ts";
import { type CliCommand, configOption, type Input, jsonOption } from "./command.ts";
import { loadWholeConfig } from "./load-config.ts";
import { compilePolicy } from "./policy-source.ts";
import { pickGateway, writeRendered } from "./rendered-files.ts";

export const renderKubernetesCommand: CliCommand = {
  path: ["render", "kubernetes"],
  summary: "write an NGINX gateway as Kubernetes resources: Ingress, or Gateway API routes",
  details: [
    "The default is Ingress for ingress-nginx. With --gateway-api, HTTPRoutes that hang on a Gateway and ask by the filter of your implementation.",
  ],
  options: [
    { spec: "--gateway <name>", doc: "which of the configuration's NGINX gateways (default: the only one)" },
    { spec: "--namespace <name>", doc: "Kubernetes namespace of the services (default: default)" },
    {
      spec: "--service <target=name:port...>",
      doc: "service behind a target (default: the target's name, port 80)",
      repeats: true,
    },
    { spec: "--gateway-api <namespace/name>", doc: "write HTTPRoutes for this Gateway instead" },
    { spec: "--filter <group/kind/name>", doc: "with --gateway-api: the filter that asks Wayleave" },
    { spec: "--out <folder>", doc: "where to write (default: ./kubernetes/<gateway>)" },
    configOption,
    jsonOption,
  ],
  examples: [
    "render kubernetes --gateway edge-1 --namespace shop --service billing=billing-api:8080",
    "render kubernetes --gateway-api gateways/edge --filter acme.example/AuthFilter/wayleave",
  ],
  async run(io, input) {
    const config = await loadWholeConfig(io, input);
    const gateway = pickGateway(config.gateways.filter(isNginx), input.text("gateway"), "nginx");
    const folder = resolve(io.cwd, input.text("out") ?? join("kubernetes", gateway.name));
    const { policy } = await compilePolicy(io, input, config.policyPath);
    const { name, brokerUrl, targets, secret, keepAtMostMs } = gateway;
    const settings = {
      name,
      brokerUrl,
      targets,
      namespace: input.text("namespace") ?? "default",
      services: services(input),
      ...(keepAtMostMs === undefined ? {} : { keepAtMostMs }),
    };
    const parent = input.text("gatewayApi");
    if (parent !== undefined) {
      const { renderHttpRoutes } = await import("../gateway/nginx/kubernetes-route.ts");
      writeRendered(
        io,
        input,
        folder,
        renderHttpRoutes({ ...settings, parent: parentOf(parent), ...filterOf(input) }, policy),
      );
      return 0;
    }
    const { renderIngress, renderIngressHeaders } = await import("../gateway/nginx/kubernetes-ingress.ts");
    const { files, notes } = renderIngress(settings, policy);
    const headers = {
      path: "wayleave-ingress-headers.yaml",
      text: renderIngressHeaders(settings, policy, secret),
      mode: 0o600,
    };
    writeRendered(io, input, folder, { files: [...files, headers], notes });
    return 0;
  },
};

const isNginx = (gateway: GatewayConfig): gateway is NginxGatewayConfig => gateway.kind === "nginx";

function services(input: Input): Record<string, KubernetesService> {
  return Object.fromEntries(
    input.list("service").map((text) => {
      const [, target = "", name = "", port = ""] =
        /^([^=]+)=([a-z0-9](?:[-a-z0-9]*[a-z0-9])?):(\d{1,5})$/.exec(text) ?? usage("--service", "target=name:port");
      return [target, { name, port: Number(port) }];
    }),
  );
}

function parentOf(text: string): { namespace: string; name: string } {
  const [, namespace = "", name = ""] =
    /^([a-z0-9-]+)\/([a-z0-9.-]+)$/.exec(text) ?? usage("--gateway-api", "namespace/name");
  return { namespace, name };
}

function filterOf(input: Input): { filter?: { group: string; kind: string; name: string } } {
  const text = input.text("filter");
  if (text === undefined) return {};
  const [, group = "", kind = "", name = ""] =
    /^([^/]+)\/([^/]+)\/([^/]+)$/.exec(text) ?? usage("--filter", "group/kind/name");
  return { filter: { group, kind, name } };
}

function usage(option: string, form: string): never {
  throw new WayleaveError("invalid_request", `${option} must be ${form}.`);
}
