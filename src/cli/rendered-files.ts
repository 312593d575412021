import { chmodSync, globSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { GatewayConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Diagnostic } from "../policy/model.ts";
import { type Input, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { printDiagnostics } from "./policy-source.ts";
import { count, lineWidth, painter, wrap } from "./terminal.ts";

interface Rendered {
  readonly files: readonly { readonly path: string; readonly text: string; readonly mode: number }[];
  readonly notes: readonly string[];
}

/** The gateway that was named, or the only one of its kind. Throws `not_found`. */
export function pickGateway<G extends GatewayConfig>(
  gateways: readonly G[],
  name: string | undefined,
  kind: string,
): G {
  const found = name === undefined && gateways.length === 1 ? gateways[0] : gateways.find((one) => one.name === name);
  if (found !== undefined) return found;
  const names = gateways.map((one) => one.name).join(", ") || "none";
  const what =
    name === undefined ? "Say which gateway with --gateway" : `There is no ${kind} gateway ${JSON.stringify(name)}`;
  throw new WayleaveError("not_found", `${what}; the configuration has, of kind ${kind}: ${names}.`);
}

/** Writes what was rendered into a folder, each file with its mode, and says so. */
export function writeRendered(io: CommandIo, input: Input, folder: string, { files, notes }: Rendered): void {
  mkdirSync(folder, { recursive: true });
  for (const file of files) {
    const path = join(folder, file.path);
    writeFileSync(path, file.text, { mode: file.mode });
    // The mode above counts only for a file that is new.
    chmodSync(path, file.mode);
  }
  reportWritten(io, input, { files: files.map(({ path }) => join(folder, path)), notes });
}

const noteIndent = 6;

/** Says what was written, and what the reader must know of it, wrapped under itself. */
export function reportWritten(
  io: CommandIo,
  input: Input,
  { files, notes }: { readonly files: readonly string[]; readonly notes: readonly string[] },
): void {
  if (input.flag("json")) {
    printJson(io, { files, notes });
    return;
  }
  const paint = painter(io, io.stdout);
  for (const path of files) io.stdout.write(`wrote ${path}\n`);
  for (const note of notes) {
    const lines = wrap(note, lineWidth - noteIndent);
    io.stdout.write(`${paint("yellow", "note")}  ${lines.join(`\n${" ".repeat(noteIndent)}`)}\n`);
  }
}

/** The YAML files that `--lint` names: files, folders (with everything below) or patterns. Throws `invalid_request` for none. */
export function readYaml(io: CommandIo, paths: readonly string[]): { file: string; text: string }[] {
  const found = paths.flatMap((path) => {
    const whole = resolve(io.cwd, path);
    const folder = statSync(whole, { throwIfNoEntry: false })?.isDirectory() === true;
    return globSync(folder ? join(whole, "**/*.{yaml,yml,json}") : whole).toSorted();
  });
  const names = [...new Set(found)];
  if (names.length === 0) {
    throw new WayleaveError("invalid_request", `There is no YAML file at ${paths.join(", ")}. Correct the path.`);
  }
  return names.map((file) => ({ file, text: readText(file) }));
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WayleaveError("invalid_request", `${file} cannot be read (${code}). Correct the path.`, { cause });
  }
}

/** Prints findings; 2 where one is an error. */
export async function reportFindings(
  io: CommandIo,
  input: Input,
  files: readonly { readonly file: string; readonly text: string }[],
  diagnostics: readonly Diagnostic[],
): Promise<number> {
  if (input.flag("json")) printJson(io, { diagnostics });
  else {
    await printDiagnostics(io, { diagnostics, files: files.map(({ file, text }) => ({ name: file, text })) });
    io.stdout.write(`${count(diagnostics.length, "finding")} in ${count(files.length, "file")}\n`);
  }
  return diagnostics.some(({ severity }) => severity === "error") ? 2 : 0;
}
