import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { readSealed, writeSealed } from "./sealed-file.ts";

const Content = z.strictObject({ v: z.literal(1), root: z.string().regex(/^[A-Za-z0-9+/]{43}=$/) });
const typ = "wayleave-secrets";

/** What encrypts the keys at rest: 32 bytes each. */
export interface EncryptionKeys {
  readonly key: Uint8Array;
  /** The one before it, while it is being replaced. */
  readonly previous?: Uint8Array;
}

/**
 * 32 bytes that fingerprints, refresh tokens and NATS passwords are derived from, kept in `<dir>/secrets.jwe`: they must outlive
 * the operator's key, which only encrypts. Made where there are no keys yet; an installation from before this file goes on with
 * the operator's key of then, so that nothing that is out becomes invalid. Throws `key_unavailable`. Open it before any other file.
 */
export async function openSecretRoot(
  dir: string,
  { key, previous }: EncryptionKeys,
  random: (bytes: number) => Uint8Array,
): Promise<Uint8Array> {
  const path = join(dir, "secrets.jwe");
  const stored = await readSealed(path, typ, key, (content) => Content.parse(content));
  if (stored !== undefined) return Buffer.from(stored.root, "base64");
  const older = (await sealedFiles(dir)).length > 0;
  const root = older ? (previous ?? key) : random(32);
  await writeSealed(path, typ, key, JSON.stringify({ v: 1, root: Buffer.from(root).toString("base64") }));
  return root;
}

/** Names of what is encrypted in a folder, sorted; none where there is no folder. */
export async function sealedFiles(dir: string): Promise<readonly string[]> {
  const names = await readdir(dir).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return [];
    throw cause;
  });
  return names.filter((name) => name.endsWith(".jwe")).sort();
}
