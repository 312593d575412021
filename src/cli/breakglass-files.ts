import type { KeyObject } from "node:crypto";
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { WayleaveError } from "../core/errors.ts";
import { parseSigned, type SignedRequest } from "../gateway/breakglass/request.ts";
import { privateKeyOf } from "../gateway/breakglass/signature.ts";

/** Whose key it is stands above it: readers of PEM skip what comes before. */
export function keyFileText(name: string, key: KeyObject): string {
  return `wayleave break-glass key of ${name}\n${key.export({ format: "pem", type: "pkcs8" })}`;
}

/** A key file: whose it is, and the key. Throws for one that others can read. */
export function readKeyFile(path: string): { readonly by: string; readonly key: KeyObject } {
  const text = readText(path);
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new WayleaveError(
      "invalid_request",
      `Others can read ${path}; say chmod 600, and make a new key if they did.`,
    );
  }
  const [, by] = /^wayleave break-glass key of ([a-z0-9.-]+)$/m.exec(text) ?? [];
  if (by === undefined) {
    throw new WayleaveError(
      "invalid_request",
      `${path} does not say whose key it is; make one with wayleave breakglass key.`,
    );
  }
  return { by, key: privateKeyOf(text) };
}

export function readRequestFile(path: string): SignedRequest {
  return parseSigned(readText(path));
}

/** A new file in place of the old one, so that nobody ever reads half of it. */
export function writeRequestFile(path: string, signed: SignedRequest): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(signed, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WayleaveError("invalid_request", `${path} cannot be read (${code}). Correct the path.`, { cause });
  }
}
