import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { WayleaveError } from "../core/errors.ts";
import { publicText } from "../gateway/breakglass/signature.ts";
import { keyFileText } from "./breakglass-files.ts";
import { type CliCommand, jsonOption, printJson } from "./command.ts";

export const breakglassKey: CliCommand = {
  path: ["breakglass", "key"],
  summary: "make your own key to approve break-glass with",
  details: [
    "The private half stays with you, in a file only you can read. What is printed goes into the broker's configuration; " +
      "render the gateways again when it is there.",
  ],
  options: [
    { spec: "--name <name>", doc: "who you are, in records: a-z, 0-9, . and -" },
    { spec: "--out <file>", doc: "where to write the key (default: ./<name>.breakglass.pem); never over another" },
    { spec: "--es256", doc: "a P-256 key, for hardware that knows no Ed25519" },
    jsonOption,
  ],
  examples: ["breakglass key --name dana", "breakglass key --name kim --es256 --out ~/.config/wayleave/kim.pem"],
  async run(io, input) {
    const name = input.text("name") ?? "";
    if (!/^[a-z0-9][a-z0-9.-]{0,62}$/.test(name)) {
      throw new WayleaveError("invalid_request", "Say who you are with --name, in a-z, 0-9, . and -.");
    }
    const file = resolve(io.cwd, input.text("out") ?? `${name}.breakglass.pem`);
    const { privateKey, publicKey } = input.flag("es256")
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : generateKeyPairSync("ed25519");
    try {
      writeFileSync(file, keyFileText(name, privateKey), { mode: 0o600, flag: "wx" });
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new WayleaveError("invalid_request", `${file} cannot be written (${code}); choose another with --out.`, {
        cause,
      });
    }
    const approver = { name, public_key: publicText(publicKey) };
    if (input.flag("json")) printJson(io, { file, approver });
    else {
      io.stderr.write(`wayleave: your key is in ${file}; keep it to yourself. Under breakglass.approvers goes:\n`);
      io.stdout.write(`- { name: ${name}, public_key: ${approver.public_key} }\n`);
    }
    return 0;
  },
};
