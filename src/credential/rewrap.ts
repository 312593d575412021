import { join } from "node:path";
import { rewrapSealed } from "./sealed-file.ts";
import { type EncryptionKeys, sealedFiles } from "./secret-root.ts";

/**
 * Encrypts every file of a folder with the operator's new key that is still encrypted with the one before, and gives their names.
 * Each is replaced whole or not at all, so that a crash leaves a mixture which the next run goes on with. Throws
 * `key_unavailable` for a file that neither key opens; those before it are done.
 */
export async function rewrapKeys(dir: string, { key, previous }: EncryptionKeys): Promise<readonly string[]> {
  if (previous === undefined) return [];
  const done: string[] = [];
  for (const name of await sealedFiles(dir)) if (await rewrapSealed(join(dir, name), key, previous)) done.push(name);
  return done;
}
