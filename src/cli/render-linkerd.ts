import { join, resolve } from "node:path";
import type { GatewayConfig, LinkerdGatewayConfig } from "../config/config.ts";
import { type CliCommand, configOption, jsonOption } from "./command.ts";
import { loadWholeConfig } from "./load-config.ts";
import { compilePolicy } from "./policy-source.ts";
import { pickGateway, readYaml, reportFindings, writeRendered } from "./rendered-files.ts";

export const renderLinkerdCommand: CliCommand = {
  path: ["render", "linkerd"],
  summary: "write the resources that make a Linkerd enforce the policy, by mesh identity",
  details: [
    "Linkerd knows no tokens and asks nobody: what it cannot say is refused by name. With --lint nothing is written.",
  ],
  options: [
    { spec: "--gateway <name>", doc: "which of the configuration's gateways (default: the only one)" },
    { spec: "--out <folder>", doc: "where to write (default: ./linkerd/<gateway>)" },
    {
      spec: "--lint <path...>",
      doc: "only check these resources, files or folders, for what would let requests past",
      repeats: true,
    },
    configOption,
    jsonOption,
  ],
  examples: ["render linkerd --gateway mesh --out mesh/linkerd", "render linkerd --lint mesh/linkerd"],
  async run(io, input) {
    if (input.list("lint").length > 0) {
      const { lintLinkerd } = await import("../gateway/linkerd/lint.ts");
      const files = readYaml(io, input.list("lint"));
      return reportFindings(io, input, files, lintLinkerd(files));
    }
    const config = await loadWholeConfig(io, input);
    const gateway = pickGateway(config.gateways.filter(isLinkerd), input.text("gateway"), "linkerd");
    const folder = resolve(io.cwd, input.text("out") ?? join("linkerd", gateway.name));
    const { model } = await compilePolicy(io, input, config.policyPath);
    const { renderLinkerd } = await import("../gateway/linkerd/render.ts");
    writeRendered(io, input, folder, renderLinkerd({ gateway, model }));
    return 0;
  },
};

const isLinkerd = (gateway: GatewayConfig): gateway is LinkerdGatewayConfig => gateway.kind === "linkerd";
