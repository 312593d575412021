import { readFileSync } from "node:fs";
import { type CliCommand, configOption, configPath, jsonOption, printJson } from "./command.ts";
import { printDiagnostics } from "./policy-source.ts";
import { count } from "./terminal.ts";

export const configCheck: CliCommand = {
  path: ["config", "check"],
  summary: "check the configuration, its secrets and the files it names",
  options: [configOption, jsonOption],
  examples: ["config check", "config check --config /etc/wayleave/wayleave.yaml --json"],
  async run(io, input) {
    const { loadConfig } = await import("../config/load.ts");
    const path = configPath(io, input);
    const loaded = loadConfig({ path, env: io.env });
    const diagnostics = "diagnostics" in loaded ? loaded.diagnostics : [];
    if (input.flag("json")) printJson(io, { ok: "config" in loaded, diagnostics });
    else if ("config" in loaded) {
      const { issuers, gateways } = loaded.config;
      io.stdout.write(`${path} is valid: ${count(issuers.length, "issuer")}, ${count(gateways.length, "gateway")}\n`);
    } else {
      await printDiagnostics(io, { diagnostics, files: sourceOf(path) });
      io.stderr.write(`wayleave: ${count(diagnostics.length, "problem")} in ${path}\n`);
    }
    return "config" in loaded ? 0 : 2;
  },
};

/** The file's text, to underline the findings in; nothing where it cannot be read, which is a finding itself. */
export function sourceOf(path: string): readonly { readonly name: string; readonly text: string }[] {
  try {
    return [{ name: path, text: readFileSync(path, "utf8") }];
  } catch {
    return [];
  }
}
