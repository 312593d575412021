import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, caOption, configOption, configPath, type Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";

export const svidFetch: CliCommand = {
  path: ["svid", "fetch"],
  summary: "write a gateway's own certificate to files, and keep it fresh",
  details: [
    "For gateways that read files, such as NGINX; an Envoy gets the same by SDS. Writes svid.pem (the certificate, then its " +
      "chain), svid.key (mode 0600, made here) and bundle.pem (the trust domain's roots), each replaced at once and whole.",
    "Where there is no wayleave.yaml, give --secret-file and --url.",
    "With --follow it stays, and does it again at half of the certificate's life. While the broker is away it tries on; a " +
      "refusal ends it. --reload is run by sh after each time; where it fails, that is said and the next time comes.",
  ],
  options: [
    { spec: "--gateway <name>", doc: "name of the gateway in the broker's configuration" },
    { spec: "--out <folder>", doc: "where to write" },
    { spec: "--secret-file <file>", doc: "file with the gateway's secret (default: the gateway's secret_file)" },
    { spec: "--url <url>", doc: "the broker's URL (default: WAYLEAVE_URL, or the gateway's broker_url)" },
    { spec: "--follow", doc: "stay, and renew" },
    { spec: "--reload <command>", doc: "what makes the gateway read the files again" },
    caOption,
    configOption,
  ],
  examples: [
    "svid fetch --gateway edge-1 --out tls --secret-file edge-1.secret --url https://wl.acme",
    'svid fetch --gateway edge-1 --out /etc/nginx/wayleave --follow --reload "nginx -s reload"',
  ],
  async run(io, input) {
    const stopped = new AbortController();
    const stop = () => stopped.abort();
    process.once("SIGTERM", stop).once("SIGINT", stop);
    try {
      return await fetchSvid(io, input, stopped.signal);
    } finally {
      process.off("SIGTERM", stop).off("SIGINT", stop);
    }
  },
};

/** As the command, until `signal` aborts. */
export async function fetchSvid(io: CommandIo, input: Input, signal: AbortSignal): Promise<number> {
  const [{ gatewayFiles }, { runCommand }, { isOutage }] = await Promise.all([
    import("./job/svid-files.ts"),
    import("./job/run-command.ts"),
    import("./job/retry.ts"),
  ]);
  const out = required(input, "out", "--out");
  const gateway = await gatewayOf(io, input);
  const files = gatewayFiles(io, { ...gateway, out, caFile: input.text("caFile") });
  const reload = input.text("reload");
  try {
    for (;;) {
      const waitMs = await files.renew().catch((error: unknown) => {
        if (!input.flag("follow") || !isOutage(error)) throw error;
        io.stderr.write(`wayleave: ${error.message} It is tried again.\n`);
        return undefined;
      });
      if (waitMs !== undefined && reload !== undefined) {
        const status = await runCommand(["sh", "-c", reload], { ...io.env }, io.cwd);
        if (status !== 0) io.stderr.write(`wayleave: --reload ended with status ${status}\n`);
      }
      if (!input.flag("follow") || signal.aborted) return 0;
      await io.pause(waitMs ?? retryMs, signal);
      if (signal.aborted) return 0;
    }
  } finally {
    await files.close();
  }
}

const retryMs = 10_000;

interface GivenGateway {
  readonly name: string;
  readonly secret: string;
  readonly url: string;
}

/** From the options alone, else from the configuration. */
async function gatewayOf(io: CommandIo, input: Input): Promise<GivenGateway> {
  const [{ readGatewaySecret }, { existsSync }, { resolve }] = await Promise.all([
    import("./job/svid-files.ts"),
    import("node:fs"),
    import("node:path"),
  ]);
  const name = required(input, "gateway", "--gateway");
  const secretFile = input.text("secretFile");
  const secret = secretFile === undefined ? undefined : readGatewaySecret(resolve(io.cwd, secretFile));
  const url = input.text("url") ?? io.env.WAYLEAVE_URL;
  if (secret !== undefined && url !== undefined) return { name, secret, url };
  if (!existsSync(resolve(io.cwd, configPath(io, input)))) {
    throw new WayleaveError(
      "invalid_request",
      `${secret === undefined ? "--secret-file" : "--url"} is missing, and there is no wayleave.yaml here that says it.`,
    );
  }
  const { loadWholeConfig } = await import("./load-config.ts");
  const found = (await loadWholeConfig(io, input)).gateways.find((gateway) => gateway.name === name);
  if (found === undefined) {
    throw new WayleaveError(
      "not_found",
      `The configuration has no gateway ${JSON.stringify(name)}. Correct --gateway.`,
    );
  }
  return { name, secret: secret ?? found.secret, url: url ?? found.brokerUrl };
}

function required(input: Input, name: string, option: string): string {
  const value = input.text(name);
  if (value) return value;
  throw new WayleaveError("invalid_request", `${option} is missing. See \`wayleave svid fetch --help\`.`);
}
