import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
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

const lockName = "wayleave.lock";

/**
 * Reads a policy file, or each `*.yaml` of a folder (not of folders in it), and the lock file beside them. `shownAs` stands for
 * the path in their names, which people read in diagnostics and refusals: by default its last part. Throws `policy_invalid`
 * where there is nothing to read. Nothing is parsed here.
 */
export async function readPolicyFiles(path: string, shownAs = basename(path)): Promise<PolicyFiles> {
  try {
    const folder = (await stat(path)).isDirectory();
    const found = folder ? (await readdir(path)).filter((name) => name.endsWith(".yaml")).toSorted() : [""];
    if (found.length === 0) {
      throw new WayleaveError("policy_invalid", `${path} holds no *.yaml file. Add one, or name another folder.`);
    }
    const named = async (name: string): Promise<NamedText> => ({
      name: join(shownAs, name),
      text: await readFile(join(path, name), "utf8"),
    });
    const files = await Promise.all(found.map(named));
    const lock = await readLock(await lockPath(path), join(folder ? shownAs : dirname(shownAs), lockName));
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

async function readLock(path: string, name: string): Promise<NamedText | undefined> {
  try {
    return { name, text: await readFile(path, "utf8") };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw cause;
  }
}
