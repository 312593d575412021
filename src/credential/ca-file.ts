import { join } from "node:path";
import { z } from "zod";
import { readSealed, writeSealed } from "./sealed-file.ts";

/** A CA certificate as it is kept. Bytes are DER. */
export interface StoredCa {
  readonly certificate: Uint8Array;
  /** PKCS #8; roots have theirs in a file of its own. */
  readonly privateKey?: Uint8Array;
  /** False until its `ca.created` record is durable; it signs nothing before. */
  readonly recorded: boolean;
}

export interface StoredCas {
  /** Without keys. */
  readonly roots: readonly StoredCa[];
  readonly intermediates: readonly StoredCa[];
}

/**
 * Where the trust domain's own CA is kept: `<dir>/ca.jwe` holds the intermediates, their keys and the roots' certificates,
 * `<dir>/ca-root.jwe` the roots' keys. The second may be carried away and locked up: it is read only to make an
 * intermediate, and its keys are not held in between. Whatever cannot be read, decrypted, understood or written is
 * `key_unavailable`.
 */
export interface CaFile {
  /** Undefined where there is none yet. */
  read(): Promise<StoredCas | undefined>;
  /** Afterwards all of it is durable. */
  write(cas: StoredCas): Promise<void>;
  /** Roots with their keys; undefined where the file is elsewhere or was never made. */
  readRoots(): Promise<readonly StoredCa[] | undefined>;
  writeRoots(roots: readonly StoredCa[]): Promise<void>;
}

/** Both files are JWEs (`dir`, A256GCM) under the operator's 32-byte key, each with its own `typ`. @see RFC 7516 */
export function caFile(dir: string, encryptionKey: Uint8Array): CaFile {
  const path = join(dir, "ca.jwe");
  const rootPath = join(dir, "ca-root.jwe");
  return {
    read: () => readSealed(path, "wayleave-ca", encryptionKey, parse),
    write: (cas) => writeSealed(path, "wayleave-ca", encryptionKey, jsonOf(cas)),
    readRoots: async () => (await readSealed(rootPath, "wayleave-ca-root", encryptionKey, parse))?.roots,
    writeRoots: (roots) =>
      writeSealed(rootPath, "wayleave-ca-root", encryptionKey, jsonOf({ roots, intermediates: [] })),
  };
}

const bytes = z.base64().transform((text) => new Uint8Array(Buffer.from(text, "base64")));
const Ca = z.strictObject({ certificate: bytes, privateKey: bytes.exactOptional(), recorded: z.boolean() });
const Cas = z.strictObject({ roots: z.array(Ca), intermediates: z.array(Ca) });

const parse = (content: unknown): StoredCas => Cas.parse(content);

function jsonOf(cas: StoredCas): string {
  return JSON.stringify(cas, (_name, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value,
  );
}
