import type { rename, rm, writeFile } from "node:fs/promises";
import type { DiscoveryDocument } from "./discovery-rest.ts";

/** The part of the file system this needs. */
export interface FileAccess {
  readonly writeFile: typeof writeFile;
  readonly rename: typeof rename;
  readonly rm: typeof rm;
}

/**
 * Puts a document where an Envoy watches for one (`path_config_source`): written beside it, then renamed over it, since
 * Envoy reads a file when something is moved onto its name. Rejects with the file system's error; what was there stays
 * then, and ends by its own validity.
 */
export async function writeDiscoveryFile(path: string, document: DiscoveryDocument, files: FileAccess): Promise<void> {
  const { version_info, resources } = document;
  const temporary = `${path}.new`;
  try {
    await files.writeFile(temporary, `${JSON.stringify({ version_info, resources })}\n`, { mode: 0o644 });
    await files.rename(temporary, path);
  } catch (error) {
    await files.rm(temporary, { force: true }).catch(() => undefined); // the first error says more
    throw error;
  }
}
