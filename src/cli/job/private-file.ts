import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { WayleaveError } from "../../core/errors.ts";

/** Makes a folder only we can enter, or refuses one that others could have prepared. */
export function privateFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const found = lstatSync(path);
  if (!found.isDirectory()) throw unsafe(path, "is not a folder");
  refuseForeign(path, found);
}

/** Text of a file only we can read; undefined where there is none. Refuses symbolic links, other owners and open modes. */
export function readPrivate(path: string): string | undefined {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw unsafe(path, code === "ELOOP" ? "is a symbolic link" : `cannot be opened (${code})`);
  }
  try {
    const found = fstatSync(file);
    if (!found.isFile()) throw unsafe(path, "is not a file");
    refuseForeign(path, found);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

/** Replaces a file at once and whole, mode 0600: a reader sees the old text or the new, never half. */
export function writePrivate(path: string, text: string): void {
  const next = join(dirname(path), `.${randomBytes(6).toString("hex")}.tmp`);
  writeFileSync(next, text, { mode: 0o600, flag: "wx" });
  renameSync(next, path);
}

function refuseForeign(path: string, found: { readonly uid: number; readonly mode: number }): void {
  if (found.uid !== process.getuid?.()) throw unsafe(path, "belongs to another user");
  if ((found.mode & 0o077) !== 0) throw unsafe(path, "can be opened by other users");
}

function unsafe(path: string, why: string): WayleaveError {
  return new WayleaveError("invalid_request", `${path} ${why}, so no session is kept there. Remove it and retry.`);
}
