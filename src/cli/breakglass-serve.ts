import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import { encodeBase32 } from "../core/ids.ts";
import { createBreakglassPoint } from "../gateway/breakglass/responder.ts";
import { approversOf } from "../gateway/breakglass/signature.ts";
import { secretHash } from "../gateway/gateway-guard.ts";
import { createNginxDialect } from "../gateway/nginx/dialect.ts";
import { sendSpool } from "./breakglass-send.ts";
import { type BreakglassSpool, openSpool } from "./breakglass-spool.ts";
import { type CliCommand, caOption, type Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { trustedCa } from "./job/trust.ts";

export const breakglassServe: CliCommand = {
  path: ["breakglass", "serve"],
  summary: "beside an NGINX: answer for the broker while it is away, to what two people signed",
  details: [
    "NGINX asks it only where the broker gives no answer. Each use is on disk before it is let through, printed here, and " +
      "sent to the broker as soon as that is back. Needs what `render nginx` wrote, and no wayleave.yaml. Runs until Ctrl-C.",
  ],
  options: [
    { spec: "--settings <file>", doc: "the rendered wayleave-breakglass.json" },
    { spec: "--secret-file <file>", doc: "file with the gateway's secret" },
    { spec: "--spool <folder>", doc: "where uses are written down (default: breakglass, beside the settings)" },
    caOption,
  ],
  examples: ["breakglass serve --settings wayleave-breakglass.json --secret-file edge-1.secret"],
  async run(io, input) {
    const { settings, secret, folder } = given(io, input);
    const spool = await openSpool(folder);
    const server = respond(io, settings, secret, spool);
    const stop = new AbortController();
    const onSignal = () => stop.abort();
    process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
    try {
      await listen(server, settings.listen);
      io.stderr.write(
        `wayleave: break-glass for gateway ${settings.gateway} listens on ${addressOf(server)}, until Ctrl-C\n`,
      );
      const { brokerUrl, gateway } = settings;
      await sendSpool(
        io,
        spool,
        { name: gateway, secret, brokerUrl, ca: trustedCa(io, input.text("caFile")) },
        stop.signal,
      );
      return 0;
    } finally {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
      await spool.close();
    }
  },
};

const Settings = z.strictObject({
  v: z.literal(1),
  gateway: z.string().min(1),
  targets: z.array(z.string().min(1)).min(1),
  broker: z.string().min(1),
  brokerUrl: z.string().min(1),
  listen: z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) }),
  approvers: z.array(z.strictObject({ name: z.string().min(1), publicKey: z.string().min(1) })).min(2),
});
type Settings = z.infer<typeof Settings>;

function given(io: CommandIo, input: Input) {
  const [file, secretFile] = [input.text("settings"), input.text("secretFile")];
  if (file === undefined || secretFile === undefined) {
    throw new WayleaveError("invalid_request", "Say --settings and --secret-file; render nginx writes the first.");
  }
  const path = resolve(io.cwd, file);
  const read = Settings.safeParse(parsed(textOf(path)));
  if (!read.success) {
    throw new WayleaveError("invalid_request", `${path} is not what render nginx writes; render it again.`);
  }
  const secret = textOf(resolve(io.cwd, secretFile)).trim();
  const folder = resolve(io.cwd, input.text("spool") ?? join(dirname(path), "breakglass"));
  return { settings: read.data, secret, folder };
}

/** NGINX's dialect in front of the decision point of break-glass. */
export function respond(
  io: Pick<CommandIo, "stderr" | "now">,
  settings: Pick<Settings, "gateway" | "targets" | "broker" | "approvers">,
  secret: string,
  spool: Pick<BreakglassSpool, "add">,
): Server {
  const { gateway, targets, broker } = settings;
  const decisionPoint = createBreakglassPoint({
    clock: { now: io.now, monotonic: () => performance.now() },
    approvers: approversOf(settings.approvers),
    broker,
    newUse: () => `use_${encodeBase32(randomBytes(10))}`,
    async record(use) {
      await spool.add(use);
      const who = use.outcome === "allow" ? `signed by ${use.approvers?.join(" and ")}` : use.reason;
      io.stderr.write(`wayleave: BREAK-GLASS ${use.outcome} ${use.target} ${use.operation} (${who}, ${use.use})\n`);
    },
  });
  const dialect = createNginxDialect({
    gateways: [{ name: gateway, targets, secretHashes: [secretHash(secret)] }],
    decisionPoint,
  });
  return createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
    request.resume();
    const { status, headers } = await dialect({ method: request.method, rawHeaders: request.rawHeaders });
    response.writeHead(status, headers.flat()).end();
  });
}

function listen(server: Server, { host, port }: Settings["listen"]): Promise<void> {
  return new Promise((done, reject) => {
    server.once("error", (cause) => {
      const { code } = cause as NodeJS.ErrnoException;
      reject(
        new WayleaveError("invalid_request", `${host}:${port} cannot be had (${code}); see breakglass of the gateway.`),
      );
    });
    server.listen(port, host, done);
  });
}

function addressOf(server: Server): string {
  const address = server.address();
  return typeof address === "object" && address !== null ? `${address.address}:${address.port}` : "";
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // said of the whole file
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WayleaveError("invalid_request", `${path} cannot be read (${code}). Correct the path.`, { cause });
  }
}
