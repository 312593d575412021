import type { NatsAdminResponse } from "../api/contract.ts";
import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, configOption, type Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { connectOperator } from "./operator.ts";
import { pickGateway } from "./rendered-files.ts";
import { labelled, painter } from "./terminal.ts";

export const natsAdmin: CliCommand = {
  path: ["nats", "admin"],
  summary: "write a credentials file with which an operator makes an account's streams",
  details: [
    "It goes to the nats-servers themselves, past the gateway: it may do everything in the account, nothing that it does is recorded " +
      "but its making, and it is over within the hour. The file has mode 0600. In config mode the servers' own file names such users.",
  ],
  options: [
    { spec: "--account <name>", doc: "the account, as policy names it" },
    { spec: "--out <file>", doc: "where to write it" },
    { spec: "--ttl <minutes>", doc: "how long it is good, 1 to 60 (default: 15)" },
    { spec: "--gateway <name>", doc: "which of the configuration's NATS gateways (default: the only one)" },
    configOption,
  ],
  examples: ["nats admin --account CI --out ci-admin.creds", "nats admin --account CI --ttl 60 --out ci-admin.creds"],
  async run(io, input) {
    const { account, out, path, minutes } = await asked(io, input);
    const { loadWholeConfig } = await import("./load-config.ts");
    const config = await loadWholeConfig(io, input);
    const all = config.gateways.flatMap((gateway) => (gateway.kind === "nats" ? [gateway] : []));
    const { name } = pickGateway(all, input.text("gateway"), "nats");
    const operator = await connectOperator(io, input);
    try {
      const found = await operator.post<NatsAdminResponse>(`/v1/gateways/${encodeURIComponent(name)}/nats/admins`, {
        account,
        ttl_seconds: minutes * 60,
      });
      const { writePrivate } = await import("./job/private-file.ts");
      try {
        writePrivate(path, found.creds);
      } catch (cause) {
        const { code } = cause as NodeJS.ErrnoException;
        throw new WayleaveError("invalid_request", `${path} cannot be written (${code}). Correct --out.`, { cause });
      }
      io.stdout.write(`wrote ${path}\n${told(io, found, { account, out })}`);
      return 0;
    } finally {
      await operator.close();
    }
  },
};

async function asked(io: CommandIo, input: Input) {
  const [account, out, ttl] = [input.text("account"), input.text("out"), input.text("ttl") ?? "15"];
  if (!account) throw new WayleaveError("invalid_request", "--account is missing. See `wayleave nats admin --help`.");
  if (!out) throw new WayleaveError("invalid_request", "--out is missing. See `wayleave nats admin --help`.");
  const minutes = Number(ttl);
  if (!/^[0-9]+$/.test(ttl) || minutes < 1 || minutes > 60) {
    throw new WayleaveError("invalid_request", `--ttl is 1 to 60 minutes, not ${JSON.stringify(ttl)}.`);
  }
  const { resolve } = await import("node:path");
  return { account, minutes, out, path: resolve(io.cwd, out) };
}

/** Where the file is good, until when, by which key the servers will know whoever uses it, and what it is for. */
function told(io: CommandIo, found: NatsAdminResponse, { account, out }: { account: string; out: string }): string {
  return labelled(painter(io, io.stdout), [
    { label: "account", text: `${account} at ${found.url}` },
    { label: "until", text: found.expires_at },
    { label: "key", text: found.key },
    { label: "next", text: `nats --server ${found.url} --creds ${out} stream add` },
  ]);
}
