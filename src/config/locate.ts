import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseDocument } from "yaml";
import { WayleaveError } from "../core/errors.ts";
import { type IssuerType, issuerTypes } from "../core/identity.ts";

/** What a command that only talks to a running broker needs of its configuration. */
export interface Located {
  readonly file: string;
  readonly dataDir: string;
  readonly policyPath: string;
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
  return { file, dataDir: value("data", "./data"), policyPath: value("policy", "./policy") };
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
