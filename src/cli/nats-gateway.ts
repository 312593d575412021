import type { NatsServerAddress } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, caOption, type Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";

export const natsGateway: CliCommand = {
  path: ["nats-gateway"],
  summary: "run a NATS gateway as a process of its own",
  details: [
    "For a gateway that the broker's configuration has with `kind: nats` and `standalone: true`. It needs the broker's URL and its " +
      "own secret, and nothing else: no configuration, policy, key or data folder. Targets, nats-servers and where to listen come " +
      "from the broker; the certificate does not.",
    "It decides by itself, from the policy and sessions that the broker tells it, and the broker records: a message of a `durable` " +
      "target is forwarded once the broker has its record. Where the broker is away for 5 s, everything is refused until it is back. " +
      "What was noted and not yet recorded is sent then; it is lost where the gateway ends before.",
    "Limits of scope `global` (the default) are counted by the broker alone: roles with one allow nothing here. Give such a role " +
      "`scope: gateway`, or run the gateway inside `serve`.",
  ],
  options: [
    { spec: "--gateway <name>", doc: "name of the gateway in the broker's configuration" },
    { spec: "--broker <url>", doc: "the broker's https URL; http on loopback only (default: WAYLEAVE_URL)" },
    { spec: "--secret-file <file>", doc: "file with the gateway's secret" },
    { spec: "--listen <address>", doc: "host:port where jobs connect (default: the broker's configuration says it)" },
    {
      spec: "--server <url>",
      doc: "a nats-server behind, nats:// or tls://host:port (default: likewise)",
      repeats: true,
    },
    { spec: "--tls-cert <file>", doc: "PEM certificate chain to serve TLS with (default: plain, on loopback only)" },
    { spec: "--tls-key <file>", doc: "its PEM private key" },
    caOption,
  ],
  examples: [
    "nats-gateway --gateway bus --broker https://wl.acme --secret-file s",
    "nats-gateway --gateway bus --broker http://127.0.0.1:8700 --secret-file bus.secret",
  ],
  async run(io, input) {
    const options = await optionsOf(io, input);
    const { startGatewayProcess } = await import("../server/nats-gateway-process.ts");
    const say = (text: string) => void io.stderr.write(`wayleave: ${text}\n`);
    const running = await startGatewayProcess({
      ...options,
      say,
      onFault: (error) => say(`a fault, and no refusal: ${error instanceof Error ? error.message : "unknown"}`),
    });
    const scheme = options.tls === undefined ? "nats" : "tls";
    say(`gateway ${options.name} takes jobs at ${scheme}://${hostText(running.host)}:${running.port}`);
    const stopped = Promise.withResolvers<void>();
    const stop = () => stopped.resolve();
    process.once("SIGTERM", stop).once("SIGINT", stop);
    try {
      await Promise.race([stopped.promise, running.followed]);
    } finally {
      process.off("SIGTERM", stop).off("SIGINT", stop);
      await running.close();
    }
    return 0;
  },
};

/** What was typed, read and checked. Throws `invalid_request`. */
export async function optionsOf(io: CommandIo, input: Input) {
  const [{ readGatewaySecret }, { isSecure }, { trustedCa }, { resolve }] = await Promise.all([
    import("./job/svid-files.ts"),
    import("./job/target-address.ts"),
    import("./job/trust.ts"),
    import("node:path"),
  ]);
  const name = required(input.text("gateway"), "--gateway");
  const secret = readGatewaySecret(resolve(io.cwd, required(input.text("secretFile"), "--secret-file")));
  const url = required(input.text("broker") ?? io.env.WAYLEAVE_URL, "--broker");
  if (!URL.canParse(url) || !isSecure(new URL(url))) {
    throw new WayleaveError(
      "invalid_request",
      "--broker must be an https URL (http only on loopback): jobs' secrets go there.",
    );
  }
  const address = input.text("listen");
  const listen = address === undefined ? undefined : parseListen(address);
  const tls = await certificate(io, input);
  const servers = input.list("server").map(parseServer);
  return {
    name,
    secret,
    brokerUrl: url.replace(/\/+$/, ""),
    ca: trustedCa(io, input.text("caFile")),
    ...(listen === undefined ? {} : { listen }),
    ...(tls === undefined ? {} : { tls }),
    ...(servers.length === 0 ? {} : { servers }),
  };
}

function required(value: string | undefined, option: string): string {
  if (value) return value;
  throw new WayleaveError("invalid_request", `${option} is missing. See \`wayleave nats-gateway --help\`.`);
}

function parseListen(text: string): { readonly host: string; readonly port: number } {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host !== undefined && Number(port) <= 65_535) return { host, port: Number(port) };
  throw new WayleaveError("invalid_request", `${JSON.stringify(text)} is no host:port, such as 127.0.0.1:4222.`);
}

function parseServer(text: string): NatsServerAddress {
  const [, scheme, address] = /^(nats|tls):\/\/(.+)$/.exec(text) ?? [];
  if (address === undefined) {
    throw new WayleaveError(
      "invalid_request",
      `--server ${JSON.stringify(text)} is no nats://host:port or tls://host:port.`,
    );
  }
  return { ...parseListen(address), tls: scheme === "tls" };
}

async function certificate(io: CommandIo, input: Input) {
  const { readFileSync } = await import("node:fs");
  const { resolve } = await import("node:path");
  const certFile = input.text("tlsCert");
  const keyFile = input.text("tlsKey");
  if (certFile === undefined && keyFile === undefined) return undefined;
  const read = (option: string, file: string | undefined): string => {
    const path = resolve(io.cwd, required(file, option));
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new WayleaveError("invalid_request", `${option} ${path} cannot be read (${code}). Correct the path.`, {
        cause,
      });
    }
  };
  return { cert: read("--tls-cert", certFile), key: read("--tls-key", keyFile) };
}

const hostText = (host: string): string => (host.includes(":") ? `[${host}]` : host);
