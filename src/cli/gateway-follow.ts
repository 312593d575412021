import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { GatewayConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { refusalsFile } from "../gateway/envoy/render-filters.ts";
import { type CliCommand, caOption, configOption, type Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import type { GatewayCredential } from "./gateway-agent.ts";
import { type Following, followLog, followRefusals } from "./gateway-follow-loops.ts";
import { readPlace, writePlace } from "./gateway-follow-place.ts";
import { LogTail } from "./gateway-log-tail.ts";
import { trustedCa } from "./job/trust.ts";
import { loadWholeConfig } from "./load-config.ts";

export const gatewayFollow: CliCommand = {
  path: ["gateway", "follow"],
  summary: "beside a gateway: send its log to the broker, and keep its refusals fresh",
  details: [
    "Runs until Ctrl-C. It survives rotation of the log, restarts of itself and a broker that is away; each line is recorded once.",
    "With --refusals it also writes, for an Envoy with `revocation: file`, who is refused now.",
    "Where there is no wayleave.yaml, give --broker and --secret-file.",
  ],
  options: [
    { spec: "--gateway <name>", doc: "which gateway this is" },
    { spec: "--log <file>", doc: "its JSON access log (default: the gateway's access_log, unless it streams)" },
    { spec: "--state <file>", doc: "where to keep the place in the log (default: <log>.place)" },
    { spec: "--refusals <folder>", doc: "the folder of its rendered files, where its Envoy looks for them" },
    { spec: "--policy <version>", doc: "version its configuration was rendered from; needed with --refusals" },
    { spec: "--broker <url>", doc: "the broker's URL (default: the gateway's broker_url)" },
    { spec: "--secret-file <file>", doc: "file with the gateway's secret (default: the gateway's secret_file)" },
    caOption,
    configOption,
  ],
  examples: [
    "gateway follow --gateway edge-1 --log /var/log/nginx/wayleave.log",
    "gateway follow --gateway edge-2 --broker https://wl.acme --secret-file edge-2.secret",
  ],
  async run(io, input) {
    const settings = await settingsOf(io, input);
    const { gatewayAgent } = await import("./gateway-agent.ts");
    const agent = gatewayAgent(settings.credential);
    const stop = new AbortController();
    const onSignal = () => stop.abort();
    process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
    const following: Following = { io, agent, signal: stop.signal };
    const tail = settings.log === undefined ? undefined : openTail(settings.log, settings.state);
    try {
      io.stderr.write(`wayleave: following for gateway ${settings.credential.name}, until Ctrl-C\n`);
      await Promise.all([
        tail === undefined ? undefined : followLog(following, tail, (place) => writePlace(settings.state, place)),
        settings.refusals === undefined ? undefined : followRefusals(following, settings.refusals),
      ]);
      return 0;
    } finally {
      stop.abort();
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
      tail?.close();
      await agent.close();
    }
  },
};

/** Well below what the broker takes at a time. */
const pieceBytes = 512 * 1024;

function openTail(log: string, state: string): LogTail {
  return new LogTail(log, readPlace(state), pieceBytes);
}

interface Settings {
  readonly credential: GatewayCredential;
  readonly log: string | undefined;
  readonly state: string;
  readonly refusals: { readonly path: string; readonly policy: string } | undefined;
}

async function settingsOf(io: CommandIo, input: Input): Promise<Settings> {
  const given = await gatewayOf(io, input);
  const log = input.text("log") ?? given.accessLog;
  const folder = input.text("refusals");
  const policy = input.text("policy");
  if (log === undefined && folder === undefined) {
    throw new WayleaveError("invalid_request", "There is nothing to follow; give --log <file> or --refusals <folder>.");
  }
  if (folder !== undefined && policy === undefined) {
    throw new WayleaveError(
      "invalid_request",
      "--refusals needs --policy <version>: it is in the first line of what was rendered.",
    );
  }
  const path = log === undefined ? undefined : resolve(io.cwd, log);
  return {
    credential: {
      name: given.name,
      secret: given.secret,
      brokerUrl: given.brokerUrl.replace(/\/+$/, ""),
      ca: trustedCa(io, input.text("caFile")),
    },
    log: path,
    state: resolve(io.cwd, input.text("state") ?? `${path ?? "gateway"}.place`),
    refusals:
      folder === undefined || policy === undefined
        ? undefined
        : { path: join(resolve(io.cwd, folder), refusalsFile), policy },
  };
}

interface GivenGateway {
  readonly name: string;
  readonly secret: string;
  readonly brokerUrl: string;
  readonly accessLog?: string;
}

/** From the options alone, else from the configuration. */
async function gatewayOf(io: CommandIo, input: Input): Promise<GivenGateway> {
  const name = input.text("gateway");
  const brokerUrl = input.text("broker");
  const secretFile = input.text("secretFile");
  if (name === undefined)
    throw new WayleaveError("invalid_request", "Say which gateway this is, with --gateway <name>.");
  if (brokerUrl !== undefined && !URL.canParse(brokerUrl)) {
    throw new WayleaveError("invalid_request", `--broker ${JSON.stringify(brokerUrl)} is no URL.`);
  }
  const secret = secretFile === undefined ? undefined : readSecret(resolve(io.cwd, secretFile));
  if (brokerUrl !== undefined && secret !== undefined) return { name, secret, brokerUrl };
  const { gateways } = await loadWholeConfig(io, input);
  const found = gateways.find((gateway) => gateway.name === name);
  if (found === undefined) {
    const names = gateways.map((gateway) => gateway.name).join(", ") || "none";
    throw new WayleaveError(
      "not_found",
      `There is no gateway ${JSON.stringify(name)}; the configuration has: ${names}.`,
    );
  }
  return {
    name,
    secret: secret ?? found.secret,
    brokerUrl: brokerUrl ?? found.brokerUrl,
    // An Envoy that streams its log would be told twice.
    ...(found.accessLog === undefined || streams(found) ? {} : { accessLog: found.accessLog }),
  };
}

const streams = (gateway: GatewayConfig): boolean => gateway.kind === "envoy" && gateway.grpc !== undefined;

function readSecret(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WayleaveError("invalid_request", `--secret-file ${path} cannot be read (${code}). Correct the path.`, {
      cause,
    });
  }
}
