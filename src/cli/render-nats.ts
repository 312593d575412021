import { join, resolve } from "node:path";
import type { RenderedNats } from "../gateway/nats/render.ts";
import { type CliCommand, configOption, jsonOption } from "./command.ts";
import { loadWholeConfig } from "./load-config.ts";
import { connectOperator, queryOf } from "./operator.ts";
import { pickGateway, writeRendered } from "./rendered-files.ts";
import { printable } from "./terminal.ts";

export const renderNatsCommand: CliCommand = {
  path: ["render", "nats"],
  summary: "write the configuration that makes nats-servers ask Wayleave about every client",
  details: [
    "Asks the running broker, which has the keys; no private key is in what it writes. The same policy, configuration and keys always give the same bytes.",
  ],
  options: [
    { spec: "--gateway <name>", doc: "which of the configuration's NATS gateways (default: the only one)" },
    { spec: "--out <folder>", doc: "where to write (default: ./nats/<gateway>)" },
    {
      spec: "--data <path>",
      doc: "where a server keeps accounts and streams, on its machine (default: /var/lib/nats)",
    },
    { spec: "--tls-cert <path>", doc: "certificate the servers serve, on their machine; with --tls-key" },
    { spec: "--tls-key <path>", doc: "its private key, on their machine" },
    { spec: "--fragments", doc: "only what an existing nats-server.conf includes" },
    configOption,
    jsonOption,
  ],
  examples: ["render nats --gateway bus --out /etc/nats", "render nats --fragments"],
  async run(io, input) {
    const config = await loadWholeConfig(io, input);
    const all = config.gateways.flatMap((gateway) => (gateway.kind === "nats" ? [gateway] : []));
    const { name } = pickGateway(all, input.text("gateway"), "nats");
    const folder = resolve(io.cwd, input.text("out") ?? join("nats", name));
    const query = queryOf({
      data: input.text("data"),
      tls_cert: input.text("tlsCert"),
      tls_key: input.text("tlsKey"),
      fragments: input.flag("fragments") ? "true" : undefined,
    });
    const operator = await connectOperator(io, input);
    try {
      const { files, notes } = await operator.get<RenderedNats>(
        `/v1/gateways/${encodeURIComponent(name)}/nats${query}`,
      );
      const said = notes.map(({ code, text }) => (input.flag("json") ? `${code}: ${text}` : printable(text)));
      writeRendered(io, input, folder, { files, notes: said });
      return 0;
    } finally {
      await operator.close();
    }
  },
};
