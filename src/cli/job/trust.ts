import { readFileSync } from "node:fs";
import { getCACertificates } from "node:tls";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";

/** The certificates to trust beside Node's own: `--ca-file`, else SSL_CERT_FILE. Undefined where neither is set. */
export function trustedCa({ env }: Pick<CommandIo, "env">, caFile: string | undefined): string[] | undefined {
  const path = caFile ?? env.SSL_CERT_FILE;
  if (!path) return undefined;
  try {
    return [...getCACertificates("default"), readFileSync(path, "utf8")];
  } catch (cause) {
    const name = caFile === undefined ? "SSL_CERT_FILE" : "--ca-file";
    throw new WayleaveError("invalid_request", `${name} names ${path}, which cannot be read. Correct the path.`, {
      cause,
    });
  }
}
