import type { Config } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { configPath, type Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { sourceOf } from "./config-check.ts";
import { printDiagnostics } from "./policy-source.ts";
import { count } from "./terminal.ts";

/** The whole configuration. Throws `config_invalid` after printing what is wrong. */
export async function loadWholeConfig(io: CommandIo, input: Input): Promise<Config> {
  const { loadConfig } = await import("../config/load.ts");
  const path = configPath(io, input);
  const loaded = loadConfig({ path, env: io.env });
  if ("config" in loaded) return loaded.config;
  await printDiagnostics(io, { diagnostics: loaded.diagnostics, files: sourceOf(path) });
  throw new WayleaveError(
    "config_invalid",
    `${path} has ${count(loaded.diagnostics.length, "problem")}, listed above. Correct them and retry.`,
  );
}
