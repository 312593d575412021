import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { crossChecks } from "./checks.ts";
import type { Config } from "./config.ts";
import type { Diagnostic } from "./diagnostic.ts";
import { type ConfigDocument, type KeyPath, readDocument } from "./document.ts";
import { issueDiagnostics } from "./problems.ts";
import { Reader, type Surroundings } from "./reader.ts";
import { resolveConfig } from "./resolve.ts";
import { ConfigFile } from "./schema.ts";

export interface LoadConfigOptions {
  /** Of the configuration file; relative to the working folder. */
  readonly path: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile?: (path: string) => string;
}

export type LoadedConfig = { readonly config: Config } | { readonly diagnostics: readonly Diagnostic[] };

/**
 * The configuration, or every problem in it at once, each with its place. Reads the files it names; touches nothing else.
 * Not checked: that issuers and gateways can be reached, and that gateways' targets exist in the policy.
 */
export function loadConfig({
  path,
  env,
  readFile = (file) => readFileSync(file, "utf8"),
}: LoadConfigOptions): LoadedConfig {
  const file = resolve(path);
  let text: string;
  try {
    text = readFile(file);
  } catch (cause) {
    return { diagnostics: [unreadable(path, (cause as NodeJS.ErrnoException).code)] };
  }
  const document = readDocument(text, path);
  if (document.problems.length > 0) return { diagnostics: document.problems };
  const parsed = ConfigFile.safeParse(document.value ?? {});
  const problems = [
    ...(parsed.success ? [] : parsed.error.issues.flatMap((issue) => issueDiagnostics(issue, document))),
    ...crossChecks(document),
  ];
  // Files and variables are looked at even where the schema has objections to other parts.
  const resolved = parsed.success ? resolveConfig(parsed.data, file, document, { env, readFile }) : undefined;
  const all = [...problems, ...(resolved?.problems ?? referenced(document, file, { env, readFile }))];
  if (all.length > 0 || resolved === undefined) return { diagnostics: all.toSorted(byPlace) };
  return { config: resolved.config };
}

/** What the file points to, where its shape is wrong elsewhere: files that are missing and variables that are unset. */
function referenced(document: ConfigDocument, file: string, around: Surroundings): readonly Diagnostic[] {
  const read = new Reader(dirname(file), document, around);
  const look = (value: unknown, path: KeyPath): void => {
    if (typeof value !== "object" || value === null) return;
    const entries = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
    for (const [key, inner] of entries) {
      if (typeof inner === "string") read.pointer(value as Readonly<Record<string, unknown>>, String(key), path);
      else look(inner, [...path, key]);
    }
  };
  look(document.value, []);
  return read.problems;
}

function unreadable(path: string, code: string | undefined): Diagnostic {
  const missing = code === "ENOENT";
  return {
    severity: "error",
    code: missing ? "file_missing" : "file_unreadable",
    message: missing ? `${path} does not exist` : `${path} cannot be read (${code ?? "unknown cause"})`,
    place: { file: path, line: 1, column: 1, length: 1 },
    help: "make one with `wayleave init`, or name another with --config or WAYLEAVE_CONFIG",
  };
}

function byPlace(a: Diagnostic, b: Diagnostic): number {
  return a.place.line - b.place.line || a.place.column - b.place.column;
}
