import { execFile } from "node:child_process";
import { basename } from "node:path";
import { promisify } from "node:util";
import type { PolicyFiles } from "../config/policy-files.ts";
import { WayleaveError } from "../core/errors.ts";

/** `git:REV` or `git:REV:path`. */
export function isRevision(path: string): boolean {
  return path.startsWith("git:");
}

const mostBytes = 16 * 1024 * 1024;

/**
 * The policy as Git has it at a revision: `git:origin/main` reads `otherwise`, the path a policy has in the working folder.
 * Nothing is checked out. Throws `policy_invalid` where Git knows no such revision or path.
 */
export async function readRevision(name: string, otherwise: string, cwd: string): Promise<PolicyFiles> {
  const [revision = "", path = otherwise] = name.slice("git:".length).split(/:(.*)/s);
  const git = async (...args: readonly string[]): Promise<string> => {
    const options = { cwd, maxBuffer: mostBytes };
    const { stdout } = await promisify(execFile)("git", args, options).catch((cause: unknown) => {
      throw missing(name, cause);
    });
    return stdout;
  };
  const commit = (await git("rev-parse", "--verify", "--quiet", "--end-of-options", `${revision}^{commit}`)).trim();
  const place = `./${path.replace(/^\.\/|\/$/g, "")}`;
  const folder = (await git("cat-file", "-t", `${commit}:${place}`)).trim() === "tree";
  const parent = place.slice(0, place.lastIndexOf("/"));
  const beside = folder ? place : parent;
  const names = (await git("ls-tree", "--full-tree", "--name-only", "-z", `${commit}:${beside}/`)).split("\0");
  const files = folder ? names.filter((file) => file.endsWith(".yaml")).toSorted() : [basename(place)];
  const read = async (file: string) => ({
    name: `${beside.slice(2)}/${file}`.replace(/^\//, ""),
    text: await git("cat-file", "blob", `${commit}:${beside}/${file}`),
  });
  const texts = await Promise.all(files.map(read));
  return names.includes("wayleave.lock") ? { files: texts, lock: await read("wayleave.lock") } : { files: texts };
}

function missing(name: string, cause: unknown): WayleaveError {
  const absent = (cause as NodeJS.ErrnoException).code === "ENOENT";
  const detail = absent
    ? "Git is not installed here, and the older policy was to be read from it. Name a file or folder instead."
    : `Git has no policy ${JSON.stringify(name)}. Write git:REVISION or git:REVISION:path, and fetch that revision first.`;
  return new WayleaveError("policy_invalid", detail, { cause });
}
