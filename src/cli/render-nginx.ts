import { chmodSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Config, GatewayConfig, NginxGatewayConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { approversOf } from "../gateway/breakglass/signature.ts";
import type { LintTarget } from "../gateway/nginx/lint.ts";
import { type CliCommand, configOption, configPath, type Input, jsonOption, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { loadWholeConfig } from "./load-config.ts";
import { compilePolicy, printDiagnostics } from "./policy-source.ts";
import { reportWritten } from "./rendered-files.ts";
import { count } from "./terminal.ts";

export const renderNginxCommand: CliCommand = {
  path: ["render", "nginx"],
  summary: "write the includes that make an NGINX enforce the policy",
  details: ["The same policy and configuration always give the same bytes. With --lint nothing is written."],
  options: [
    { spec: "--gateway <name>", doc: "which of the configuration's gateways (default: the only one)" },
    { spec: "--out <folder>", doc: "where to write (default: ./nginx/<gateway>)" },
    { spec: "--directory <path>", doc: "where the files will lie on the gateway's machine (default: --out)" },
    {
      spec: "--lint <nginx.conf>",
      doc: "only check the configuration that includes them, for what would let requests past",
    },
    configOption,
    jsonOption,
  ],
  examples: ["render nginx --gateway edge-1 --out /etc/nginx/wayleave", "render nginx --lint /etc/nginx/nginx.conf"],
  async run(io, input) {
    const nginxConf = input.text("lint");
    if (nginxConf !== undefined) return lint(io, input, nginxConf);
    const config = await loadWholeConfig(io, input);
    const gateway = pick(config.gateways.filter(isNginx), input.text("gateway"));
    const folder = resolve(io.cwd, input.text("out") ?? join("nginx", gateway.name));
    const written = await writeIncludes(io, input, {
      gateway,
      behind: gatewaysBehind(config.gateways, gateway.name),
      folder,
      directory: input.text("directory") ?? folder,
      policyPath: config.policyPath,
      approval: config,
    });
    reportWritten(io, input, written);
    return 0;
  },
};

interface Written {
  readonly files: readonly string[];
  readonly notes: readonly string[];
}

/** Renders one gateway's includes and its secret into a folder. */
export async function writeIncludes(
  io: CommandIo,
  input: Input,
  at: {
    readonly gateway: NginxGatewayConfig;
    /** By target: the gateway behind this one. */
    readonly behind: Readonly<Record<string, string>>;
    readonly folder: string;
    readonly directory: string;
    readonly policyPath: string;
    /** Whose break-glass its responder takes, where it has one. */
    readonly approval?: Pick<Config, "issuer" | "approvers">;
  },
): Promise<Written> {
  const { gateway, folder, directory } = at;
  const [{ policy }, { renderNginx, renderSecret }] = await Promise.all([
    compilePolicy(io, input, at.policyPath),
    import("../gateway/nginx/render.ts"),
  ]);
  const { files, notes } = renderNginx({
    gateway: {
      name: gateway.name,
      brokerUrl: gateway.brokerUrl,
      secretFile: join(directory, secretName),
      targets: gateway.targets,
      directory,
      njs: gateway.njs,
      behind: at.behind,
      ...(gateway.breakglass === undefined ? {} : { breakglass: addressText(gateway.breakglass) }),
      ...(gateway.keepAtMostMs === undefined ? {} : { keepAtMostMs: gateway.keepAtMostMs }),
      ...(gateway.accessLog === undefined ? {} : { accessLog: gateway.accessLog }),
      ...(gateway.cacheMs >= 1000 ? { cacheSeconds: Math.floor(gateway.cacheMs / 1000) } : {}),
    },
    policy,
  });
  mkdirSync(folder, { recursive: true });
  const all = [
    ...files,
    ...breakglassSettings(gateway, at.approval),
    { path: secretName, text: renderSecret(gateway.secret), mode: 0o600 },
  ];
  for (const file of all) {
    const path = join(folder, file.path);
    writeFileSync(path, file.text, { mode: file.mode });
    // The mode above counts only for a file that is new.
    chmodSync(path, file.mode);
  }
  return { files: all.map(({ path }) => join(folder, path)), notes };
}

/** What `wayleave breakglass serve` needs on the gateway's machine. No secret is in it. */
function breakglassSettings(gateway: NginxGatewayConfig, approval: Pick<Config, "issuer" | "approvers"> | undefined) {
  const { name, targets, brokerUrl, breakglass: listen } = gateway;
  if (listen === undefined || approval === undefined) return [];
  if (approval.approvers.length === 0) {
    throw new WayleaveError(
      "config_invalid",
      `Gateway ${name} has a break-glass responder, and nobody may approve: list people under breakglass.approvers.`,
    );
  }
  approversOf(approval.approvers);
  const settings = {
    v: 1,
    gateway: name,
    targets,
    broker: approval.issuer,
    brokerUrl,
    listen,
    approvers: approval.approvers,
  };
  return [{ path: breakglassFile, text: `${JSON.stringify(settings, null, 2)}\n`, mode: 0o644 }];
}

const breakglassFile = "wayleave-breakglass.json";

const addressText = ({ host, port }: { readonly host: string; readonly port: number }): string =>
  `${host.includes(":") ? `[${host}]` : host}:${port}`;

const secretName = "wayleave-secret.conf";

/** By target: the gateway that stands behind the named one. */
export function gatewaysBehind(gateways: readonly GatewayConfig[], front: string): Readonly<Record<string, string>> {
  const inner = gateways.flatMap((gateway) =>
    gateway.kind === "envoy" && gateway.behind.includes(front) ? [gateway] : [],
  );
  return Object.fromEntries(inner.flatMap(({ name, targets }) => targets.map((target) => [target, name])));
}

const isNginx = (gateway: GatewayConfig): gateway is NginxGatewayConfig => gateway.kind === "nginx";

/** The gateway that was named, or the only one there is. Throws `not_found`. */
function pick<G extends GatewayConfig>(gateways: readonly G[], name: string | undefined): G {
  const found =
    name === undefined && gateways.length === 1 ? gateways[0] : gateways.find((gateway) => gateway.name === name);
  if (found !== undefined) return found;
  const names = gateways.map((gateway) => gateway.name).join(", ") || "none";
  const what = name === undefined ? "Say which gateway with --gateway" : `There is no gateway ${JSON.stringify(name)}`;
  throw new WayleaveError("not_found", `${what}; the configuration has: ${names}.`);
}

/** Targets of the gateway with their hosts, by which forgotten servers are found; undefined on a machine without the configuration. */
async function frontedTargets(io: CommandIo, input: Input): Promise<readonly LintTarget[] | undefined> {
  if (input.text("config") === undefined && !existsSync(resolve(io.cwd, configPath(io, input)))) return undefined;
  const { gateways, policyPath } = await loadWholeConfig(io, input);
  const { policy } = await compilePolicy(io, input, policyPath);
  const asked = input.text("gateway");
  const nginx = gateways.filter(isNginx);
  const fronting = asked === undefined ? nginx : [pick(nginx, asked)];
  return [...new Set(fronting.flatMap(({ targets }) => targets))].flatMap((name) => policy.targets.get(name) ?? []);
}

async function lint(io: CommandIo, input: Input, path: string): Promise<number> {
  const { lintNginx } = await import("../gateway/nginx/lint.ts");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new WayleaveError(
      "invalid_request",
      `${path} cannot be read (${(cause as NodeJS.ErrnoException).code}). Correct the path.`,
      { cause },
    );
  }
  const read = (name: string): string | undefined => {
    try {
      return readFileSync(name, "utf8");
    } catch {
      return undefined; // the lint says which include it could not see
    }
  };
  const glob = (pattern: string): readonly string[] => globSync(pattern).toSorted();
  const targets = await frontedTargets(io, input);
  const diagnostics = lintNginx({ file: path, text, read, glob, ...(targets === undefined ? {} : { targets }) });
  if (input.flag("json")) printJson(io, { diagnostics });
  else {
    const names = new Set([path, ...diagnostics.map(({ place }) => place.file)]);
    const files = [...names].map((name) => ({ name, text: read(name) ?? "" }));
    await printDiagnostics(io, { diagnostics, files });
    io.stdout.write(`${count(diagnostics.length, "finding")} in ${path}\n`);
    if (targets === undefined) {
      io.stdout.write("no wayleave.yaml here: servers that forgot the includes were not looked for; say --config\n");
    }
  }
  return diagnostics.some(({ severity }) => severity === "error") ? 2 : 0;
}
