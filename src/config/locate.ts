import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseDocument } from "yaml";
import { WayleaveError } from "../core/errors.ts";
import { type IssuerType, issuerTypes } from "../core/identity.ts";
import type { PolicySourceConfig } from "./config.ts";
import { boundsOf, type WrittenSource } from "./source-bounds.ts";

/** What a command that only talks to a running broker needs of its configuration. */
export interface Located {
  readonly file: string;
  readonly dataDir: string;
  /** The configuration's own file where it lists several sources. */
  readonly policyPath: string;
  readonly policySources?: readonly PolicySourceConfig[];
}

/**
 * Where the data and policy of a configuration lie, read without its secrets: an operator's shell need not have them.
 * Not checked: everything else in the file. Throws `config_invalid` where it cannot be read.
 */
export function locateConfig(path: string): Located {
  const file = resolve(path);
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "does not exist" : "cannot be read";
    throw new WayleaveError("config_invalid", `${path} ${why}. Name the file with --config or WAYLEAVE_CONFIG.`, {
      cause,
    });
  }
  const doc = parseDocument(text, { logLevel: "silent" });
  const value = (key: string, otherwise: string): string => {
    const found: unknown = doc.get(key);
    return resolve(dirname(file), typeof found === "string" ? found : otherwise);
  };
  const dataDir = value("data", "./data");
  const policy = (doc.toJS({ maxAliasCount: 0 }) as { policy?: unknown } | null)?.policy;
  if (typeof policy !== "object" || policy === null) return { file, dataDir, policyPath: value("policy", "./policy") };
  const policySources = readSources(policy, path).map((source) => ({
    name: source.name,
    path: resolve(dirname(file), source.path),
    ...boundsOf(source),
  }));
  return { file, dataDir, policyPath: file, policySources };
}

/** Strictly, though not with the schema: bounds that cannot be read must not be none. */
function readSources({ sources }: { readonly sources?: unknown }, path: string): readonly WrittenSource[] {
  const isList = (value: unknown) =>
    value === undefined || (Array.isArray(value) && value.every((item) => typeof item === "string"));
  const isSource = (source: Partial<Record<string, unknown>> | null): boolean => {
    const { name, path: at, projects, targets, hosts, ...others } = source ?? {};
    if (typeof name !== "string" || typeof at !== "string" || Object.keys(others).length > 0) return false;
    return isList(projects) && isList(targets) && isList(hosts);
  };
  if (Array.isArray(sources) && sources.length > 0 && sources.every(isSource)) return sources;
  const detail = `The policy sources of ${path} are not understood; \`wayleave config check\` says why.`;
  throw new WayleaveError("config_invalid", detail);
}

/** What checking a policy needs of a configured issuer. */
export interface LocatedIssuer {
  readonly name: string;
  readonly type: IssuerType;
  readonly edition?: "community";
}

/** A configuration's issuers, for checking a policy; without a configuration, one of each type. */
export function configuredIssuersOf(path: string): readonly LocatedIssuer[] {
  const any = issuerTypes.map((type) => ({ name: type, type }));
  let found: unknown;
  try {
    found = (
      parseDocument(readFileSync(path, "utf8"), { logLevel: "silent" }).toJS({ maxAliasCount: 0 }) as {
        issuers?: unknown;
      }
    ).issuers;
  } catch {
    return any; // no configuration here, or none that can be read: `config check` says why
  }
  if (!Array.isArray(found)) return any;
  const issuers = found.flatMap((entry: Readonly<Record<string, unknown>> | null): readonly LocatedIssuer[] => {
    const type = issuerTypes.find((known) => known === entry?.type);
    if (type === undefined || typeof entry?.name !== "string") return [];
    return [{ name: entry.name, type, ...(entry.edition === "community" ? { edition: "community" } : {}) }];
  });
  return issuers.length === 0 ? any : issuers;
}
