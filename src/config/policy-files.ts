import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { WayleaveError } from "../core/errors.ts";

/** A file's name as diagnostics print it, and its text. */
export interface NamedText {
  readonly name: string;
  readonly text: string;
}

export interface PolicyFiles {
  /** By name, so that the same folder always gives the same policy. */
  readonly files: readonly NamedText[];
  readonly lock?: NamedText;
}

export const lockName = "wayleave.lock";

/**
 * Reads a policy file, or each `*.yaml` of a folder (not of folders in it), and the lock file beside them. Throws
 * `policy_invalid` where there is nothing to read. Nothing is parsed here.
 */
export async function readPolicyFiles(path: string): Promise<PolicyFiles> {
  try {
    const folder = (await stat(path)).isDirectory();
    const names = folder
      ? (await readdir(path)).filter((name) => name.endsWith(".yaml")).map((name) => join(path, name))
      : [path];
    if (names.length === 0)
      throw new WayleaveError("policy_invalid", `${path} holds no *.yaml file. Add one, or name another folder.`);
    const files = await Promise.all(
      names.toSorted().map(async (name) => ({ name, text: await readFile(name, "utf8") })),
    );
    const lock = await readLock(join(folder ? path : dirname(path), lockName));
    return lock === undefined ? { files } : { files, lock };
  } catch (cause) {
    if (cause instanceof WayleaveError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === "ENOENT" ? "does not exist" : `cannot be read (${code})`;
    throw new WayleaveError(
      "policy_invalid",
      `The policy ${path} ${why}. Correct \`policy\` in wayleave.yaml, or name the file.`,
      { cause },
    );
  }
}

/** Where the lock file of a policy stands. */
export async function lockPath(path: string): Promise<string> {
  const folder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  return join(folder ? path : dirname(path), lockName);
}

async function readLock(name: string): Promise<NamedText | undefined> {
  try {
    return { name, text: await readFile(name, "utf8") };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw cause;
  }
}
