import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { GatewayConfig, IstioGatewayConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, caOption, configOption, configPath, type Input, jsonOption } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { trustedCa } from "./job/trust.ts";
import { loadWholeConfig } from "./load-config.ts";
import { compilePolicy } from "./policy-source.ts";
import { pickGateway, readYaml, reportFindings, writeRendered } from "./rendered-files.ts";

export const renderIstioCommand: CliCommand = {
  path: ["render", "istio"],
  summary: "write the resources that make an Istio enforce the policy",
  details: [
    "The broker's public keys are put into the resources: they are asked of the running broker, or read by --jwks.",
    "With --ended only the resource with the ended sessions is written. With --lint nothing is written.",
  ],
  options: [
    { spec: "--gateway <name>", doc: "which of the configuration's gateways (default: the only one)" },
    { spec: "--out <folder>", doc: "where to write (default: ./istio/<gateway>)" },
    { spec: "--jwks <file>", doc: "the broker's public keys (default: ask the broker at `issuer`)" },
    { spec: "--ended <file>", doc: 'JSON with the ended `sessions` and revoked `tokens`: {"sessions":[],"tokens":[]}' },
    {
      spec: "--lint <path...>",
      doc: "only check these resources, files or folders, for what would let requests past",
      repeats: true,
    },
    caOption,
    configOption,
    jsonOption,
  ],
  examples: ["render istio --gateway mesh --out mesh/istio", "render istio --lint mesh/istio cluster/istio"],
  async run(io, input) {
    if (input.list("lint").length > 0) return lint(io, input);
    const config = await loadWholeConfig(io, input);
    const gateway = pickGateway(config.gateways.filter(isIstio), input.text("gateway"), "istio");
    const folder = resolve(io.cwd, input.text("out") ?? join("istio", gateway.name));
    const { model } = await compilePolicy(io, input, config.policyPath);
    const { issuer } = config;
    const endedFile = input.text("ended");
    if (endedFile !== undefined) {
      const { renderEndedSessions } = await import("../gateway/istio/ended-sessions.ts");
      const ended = readEnded(resolve(io.cwd, endedFile));
      const text = renderEndedSessions({ gateway, model, issuer, ended });
      writeRendered(io, input, folder, { files: [{ path: "wayleave-ended.yaml", text, mode: 0o644 }], notes: [] });
      return 0;
    }
    const jwks = await keysFor(io, input, gateway, issuer);
    const [{ renderIstio }, { renderMeshConfig }] = await Promise.all([
      import("../gateway/istio/render.ts"),
      import("../gateway/istio/mesh-config.ts"),
    ]);
    const rendered = renderIstio({ gateway, model, issuer, jwks });
    const mesh = renderMeshConfig({ gateway, model, secret: gateway.secret });
    const files = [...rendered.files, { path: "wayleave-mesh-config.yaml", text: mesh, mode: 0o600 }];
    writeRendered(io, input, folder, { files, notes: rendered.notes });
    return 0;
  },
};

const isIstio = (gateway: GatewayConfig): gateway is IstioGatewayConfig => gateway.kind === "istio";

async function lint(io: CommandIo, input: Input): Promise<number> {
  const { lintIstio } = await import("../gateway/istio/lint.ts");
  const files = readYaml(io, input.list("lint"));
  const known = input.text("config") !== undefined || existsSync(resolve(io.cwd, configPath(io, input)));
  const gateways = known ? (await loadWholeConfig(io, input)).gateways.filter(isIstio) : [];
  const asked = input.text("gateway");
  const mine = asked === undefined ? gateways : [pickGateway(gateways, asked, "istio")];
  const workloads = mine.flatMap(({ namespace, workloads: list }) =>
    list.map(({ target, labels }) => ({ target, namespace, labels })),
  );
  return reportFindings(io, input, files, lintIstio({ files, workloads }));
}

function readEnded(path: string): { sessions: readonly string[]; tokens: readonly string[] } {
  const { sessions = [], tokens = [] } = readJson(path) as { sessions?: unknown; tokens?: unknown };
  const texts = (value: unknown): value is string[] =>
    Array.isArray(value) && value.every((one) => typeof one === "string");
  if (texts(sessions) && texts(tokens)) return { sessions, tokens };
  throw new WayleaveError("invalid_request", `${path} must hold {"sessions":[…],"tokens":[…]} with texts. Correct it.`);
}

function readJson(path: string): object {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value === "object" && value !== null) return value;
  } catch (cause) {
    throw new WayleaveError("invalid_request", `${path} cannot be read as JSON. Correct the path or the file.`, {
      cause,
    });
  }
  throw new WayleaveError("invalid_request", `${path} is no JSON object. Correct the file.`);
}

/** The live keys: of the file, or of the broker's own discovery. Nothing where every request is asked about. */
async function keysFor(io: CommandIo, input: Input, gateway: IstioGatewayConfig, issuer: string): Promise<unknown> {
  const file = input.text("jwks");
  if (file !== undefined) return readJson(resolve(io.cwd, file));
  if (gateway.mode === "call_out") return undefined;
  const ca = trustedCa(io, input.text("caFile"));
  const { jwks_uri: uri } = (await fetchJson(`${issuer}/.well-known/oauth-authorization-server`, ca)) as {
    jwks_uri?: unknown;
  };
  if (typeof uri === "string" && uri.startsWith(`${issuer}/`)) return fetchJson(uri, ca);
  throw new WayleaveError("broker_unreachable", `${issuer} says no jwks_uri of its own; give the keys with --jwks.`);
}

const maxBytes = 1024 * 1024;

async function fetchJson(url: string, ca: readonly string[] | undefined): Promise<object> {
  const { Agent, request } = await import("undici");
  const agent = new Agent({ allowH2: false, ...(ca === undefined ? {} : { connect: { ca: [...ca] } }) });
  try {
    const { statusCode, body } = await request(url, { dispatcher: agent, signal: AbortSignal.timeout(10_000) });
    const text = await body.text();
    if (statusCode === 200 && text.length <= maxBytes) return JSON.parse(text) as object;
  } catch (cause) {
    throw new WayleaveError("broker_unreachable", `${url} gave no keys; start the broker, or give them with --jwks.`, {
      cause,
    });
  } finally {
    await agent.close();
  }
  throw new WayleaveError("broker_unreachable", `${url} gave no keys; start the broker, or give them with --jwks.`);
}
