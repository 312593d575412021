import { join, resolve } from "node:path";
import { type CliCommand, configOption, jsonOption } from "./command.ts";
import { loadWholeConfig } from "./load-config.ts";
import { compilePolicy } from "./policy-source.ts";
import { gatewaysBehind } from "./render-nginx.ts";
import { pickGateway, writeRendered } from "./rendered-files.ts";

export const renderEnvoyCommand: CliCommand = {
  path: ["render", "envoy"],
  summary: "write the configuration that makes an Envoy enforce the policy",
  details: [
    "A whole configuration, or with --fragments pieces that fit an existing one. The same policy and configuration always give the same bytes.",
  ],
  options: [
    { spec: "--gateway <name>", doc: "which of the configuration's gateways (default: the only one)" },
    { spec: "--out <folder>", doc: "where to write (default: ./envoy/<gateway>)" },
    { spec: "--directory <path>", doc: "where the files will lie on the gateway's machine (default: --out)" },
    { spec: "--fragments", doc: "http_filters, virtual_hosts, clusters and access_log, each in a file" },
    configOption,
    jsonOption,
  ],
  examples: ["render envoy --gateway inner --out /etc/envoy/wayleave", "render envoy --gateway inner --fragments"],
  async run(io, input) {
    const config = await loadWholeConfig(io, input);
    const envoys = config.gateways.flatMap((gateway) => (gateway.kind === "envoy" ? [gateway] : []));
    const { secret, ...gateway } = pickGateway(envoys, input.text("gateway"), "envoy");
    const folder = resolve(io.cwd, input.text("out") ?? join("envoy", gateway.name));
    const [{ model }, { renderEnvoy, renderSecret }] = await Promise.all([
      compilePolicy(io, input, config.policyPath),
      import("../gateway/envoy/render.ts"),
    ]);
    const { files, notes } = renderEnvoy({
      gateway: {
        ...gateway,
        directory: input.text("directory") ?? folder,
        passesOn: gatewaysBehind(config.gateways, gateway.name),
      },
      policy: model,
      issuer: config.issuer,
      trustDomain: config.trustDomain,
      tokenTtlMs: config.sessions.tokenTtlMs,
      fragments: input.flag("fragments"),
    });
    writeRendered(io, input, folder, { files: [...files, renderSecret(secret)], notes });
    return 0;
  },
};
