import { resolve } from "node:path";
import { WayleaveError } from "../core/errors.ts";
import { addSignature } from "../gateway/breakglass/signature.ts";
import { readKeyFile, readRequestFile, writeRequestFile } from "./breakglass-files.ts";
import { requestText } from "./breakglass-show.ts";
import type { CliCommand } from "./command.ts";

export const breakglassSign: CliCommand = {
  path: ["breakglass", "sign"],
  summary: "approve a break-glass request with your own key",
  details: ["Works offline. Shows what you sign, and adds your signature to the file. One person signs once."],
  args: [{ spec: "<file>", doc: "the request" }],
  options: [{ spec: "--key <file>", doc: "your key, made by `breakglass key`" }],
  examples: ["breakglass sign bg_7g2k.json --key dana.breakglass.pem"],
  async run(io, input) {
    const file = resolve(io.cwd, input.args[0] ?? "");
    const keyFile = input.text("key");
    if (keyFile === undefined) throw new WayleaveError("invalid_request", "Say which key with --key <file>.");
    const signed = addSignature(readRequestFile(file), readKeyFile(resolve(io.cwd, keyFile)));
    io.stderr.write(requestText(io, signed));
    writeRequestFile(file, signed);
    const more = Math.max(0, 2 - signed.signatures.length);
    io.stderr.write(`wayleave: ${more === 0 ? `wayleave breakglass use ${file}` : "one more person must sign"}\n`);
    return 0;
  },
};
