import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Config, EnvoyGatewayConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, configOption, type Input, jsonOption } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { loadWholeConfig } from "./load-config.ts";
import { compilePolicy } from "./policy-source.ts";
import { gatewaysBehind } from "./render-nginx.ts";
import { reportWritten } from "./rendered-files.ts";

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
    const gateway = pick(config, input.text("gateway"));
    const folder = resolve(io.cwd, input.text("out") ?? join("envoy", gateway.name));
    const written = await writeEnvoy(io, input, {
      config,
      gateway,
      folder,
      directory: input.text("directory") ?? folder,
      fragments: input.flag("fragments"),
    });
    reportWritten(io, input, written);
    return 0;
  },
};

interface Written {
  readonly files: readonly string[];
  readonly notes: readonly string[];
}

/** Renders one gateway's configuration and its secret into a folder. */
export async function writeEnvoy(
  io: CommandIo,
  input: Input,
  at: {
    readonly config: Config;
    readonly gateway: EnvoyGatewayConfig;
    readonly folder: string;
    readonly directory: string;
    readonly fragments: boolean;
  },
): Promise<Written> {
  const { config, folder, directory, fragments } = at;
  const { secret, ...gateway } = at.gateway;
  const [{ model }, { renderEnvoy, renderSecret }] = await Promise.all([
    compilePolicy(io, input, config.policyPath),
    import("../gateway/envoy/render.ts"),
  ]);
  const { files, notes } = renderEnvoy({
    gateway: { ...gateway, directory, passesOn: gatewaysBehind(config.gateways, gateway.name) },
    policy: model,
    issuer: config.issuer,
    trustDomain: config.trustDomain,
    tokenTtlMs: config.sessions.tokenTtlMs,
    fragments,
  });
  mkdirSync(folder, { recursive: true });
  const all = [...files, renderSecret(secret)];
  for (const file of all) {
    const path = join(folder, file.path);
    writeFileSync(path, file.text, { mode: file.mode });
    // The mode above counts only for a file that is new.
    chmodSync(path, file.mode);
  }
  return { files: all.map(({ path }) => join(folder, path)), notes };
}

/** The gateway that was named, or the only one there is. Throws `not_found`. */
function pick({ gateways }: Config, name: string | undefined): EnvoyGatewayConfig {
  const envoys = gateways.flatMap((gateway) => (gateway.kind === "envoy" ? [gateway] : []));
  const found = name === undefined && envoys.length === 1 ? envoys[0] : envoys.find((gateway) => gateway.name === name);
  if (found !== undefined) return found;
  const names = envoys.map((gateway) => gateway.name).join(", ") || "none";
  const what = name === undefined ? "Say which gateway with --gateway" : `There is no Envoy ${JSON.stringify(name)}`;
  throw new WayleaveError("not_found", `${what}; the configuration has: ${names}.`);
}
