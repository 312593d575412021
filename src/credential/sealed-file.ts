import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { CompactEncrypt, compactDecrypt } from "jose";
import { WayleaveError } from "../core/errors.ts";

/**
 * What a sealed file holds, read by `parse`: a JWE (`dir`, A256GCM) under the operator's 32-byte key, with what it is for
 * bound in as `typ`, so that files cannot be swapped. Undefined where there is no file. Throws `key_unavailable` where it
 * cannot be read, decrypted or understood. `parse` is given the parsed JSON and when the file was written, ms since the epoch.
 *
 * @see RFC 7516, RFC 7518 §4.5
 */
export async function readSealed<T>(
  path: string,
  typ: string,
  key: Uint8Array,
  parse: (content: unknown, writtenAt: number) => T,
): Promise<T | undefined> {
  const sealed = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return undefined;
    throw new WayleaveError("key_unavailable", `Cannot read ${path}; check its owner and mode.`, { cause });
  });
  if (sealed === undefined) return undefined;
  try {
    return parse(await unseal(sealed, typ, key), (await stat(path)).mtimeMs);
  } catch (cause) {
    throw new WayleaveError(
      "key_unavailable",
      `Cannot decrypt ${path}; keys.encryption_key_file must hold the key it was written with.`,
      { cause },
    );
  }
}

const jwe = { keyManagementAlgorithms: ["dir"], contentEncryptionAlgorithms: ["A256GCM"] };

async function unseal(sealed: string, typ: string, key: Uint8Array): Promise<unknown> {
  const { plaintext, protectedHeader } = await compactDecrypt(sealed.trim(), key, jwe);
  if (protectedHeader.typ !== typ) throw new TypeError("another file");
  try {
    return JSON.parse(new TextDecoder().decode(plaintext));
  } catch {
    throw new TypeError("not JSON"); // the parser's own words would quote what was decrypted
  }
}

/**
 * Encrypts a sealed file with another key, its content and purpose unchanged; false where it is so already. Afterwards it is
 * durable; where it throws `key_unavailable` or the machine stops, it is as it was.
 */
export async function rewrapSealed(path: string, key: Uint8Array, previous: Uint8Array): Promise<boolean> {
  const sealed = (await readFile(path, "utf8")).trim();
  const open = (by: Uint8Array) => compactDecrypt(sealed, by, jwe).catch(() => undefined);
  if ((await open(key)) !== undefined) return false;
  const opened = await open(previous);
  const typ = opened?.protectedHeader.typ;
  if (opened === undefined || typ === undefined) {
    throw new WayleaveError(
      "key_unavailable",
      `Cannot decrypt ${path} with keys.encryption_key, nor with keys.previous_encryption_key: give the key it was written with as the previous one.`,
    );
  }
  await writeSealed(path, typ, key, new TextDecoder().decode(opened.plaintext));
  return true;
}

/** Afterwards all of it is durable; where it throws `key_unavailable` or the machine stops, all or nothing of it is. */
export async function writeSealed(path: string, typ: string, key: Uint8Array, json: string): Promise<void> {
  const sealed = await new CompactEncrypt(new TextEncoder().encode(json))
    .setProtectedHeader({ alg: "dir", enc: "A256GCM", typ })
    .encrypt(key);
  try {
    await writeDurably(path, sealed, 0o600);
  } catch (cause) {
    throw new WayleaveError("key_unavailable", `Cannot write ${path}; free or repair the disk.`, { cause });
  }
}

/**
 * Write to a temporary name of its own, sync, rename, sync the folder: after a crash there is the old file or the new one, and
 * of two that write at once one is whole.
 */
export async function writeDurably(path: string, text: string, mode: number): Promise<void> {
  const dir = dirname(path);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const temporary = `${path}.${randomBytes(6).toString("hex")}.new`;
  try {
    const file = await open(temporary, "wx", mode);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const folder = await open(dir, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
