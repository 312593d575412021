import { mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { PolicyFiles } from "../config/policy-files.ts";
import { WayleaveError } from "../core/errors.ts";

/** The texts of every policy that was in force or a candidate, by version: what can be gone back to. */
export interface KeptPolicies {
  /** Durable once it resolves; known already: kept as if it came now. `spare` are not forgotten to make room. */
  keep(version: string, texts: PolicyFiles, spare?: readonly string[]): Promise<void>;
  /** Throws `policy_not_kept`. Whether the texts still make this version is for whoever parses them. */
  read(version: string): Promise<PolicyFiles>;
  /** Newest first. */
  list(): Promise<readonly KeptPolicy[]>;
}

export interface KeptPolicy {
  readonly version: string;
  /** ms since the epoch. */
  readonly keptAt: number;
}

/** So many are kept; the one that came longest ago goes first. */
const maxKept = 100;

const fileName = /^([0-9a-f]{6,64})\.json$/;

/** In a folder of files of mode 0600, which is made where it is missing. */
export function openKeptPolicies(folder: string, now: () => number): KeptPolicies {
  const pathOf = (version: string) => join(folder, `${version}.json`);

  const list = async (): Promise<readonly KeptPolicy[]> => {
    const names = await readdir(folder).catch(() => []);
    const found = await Promise.all(
      names.map(async (name): Promise<readonly KeptPolicy[]> => {
        const version = fileName.exec(name)?.[1];
        const known = version === undefined ? undefined : await stat(join(folder, name)).catch(() => undefined);
        return version === undefined || known === undefined ? [] : [{ version, keptAt: Math.round(known.mtimeMs) }];
      }),
    );
    return found.flat().sort((a, b) => b.keptAt - a.keptAt || (a.version < b.version ? -1 : 1));
  };

  const prune = async (spare: readonly string[]): Promise<void> => {
    const old = (await list()).slice(maxKept).filter(({ version }) => !spare.includes(version));
    await Promise.all(old.map(({ version }) => rm(pathOf(version), { force: true })));
  };

  return {
    async keep(version, { files, lock }, spare = []) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const at = new Date(now());
      const known = await stat(pathOf(version)).catch(() => undefined);
      if (known === undefined) {
        const texts: PolicyFiles = lock === undefined ? { files } : { files, lock };
        await writeDurably(folder, pathOf(version), JSON.stringify(texts));
      }
      await utimes(pathOf(version), at, at);
      await prune([version, ...spare]);
    },
    async read(version) {
      try {
        const texts = JSON.parse(await readFile(pathOf(version), "utf8")) as PolicyFiles | null;
        if (!Array.isArray(texts?.files)) throw new TypeError("no texts");
        return texts;
      } catch (cause) {
        throw new WayleaveError(
          "policy_not_kept",
          `The texts of policy ${version} are not in ${folder}, or cannot be read; see \`wayleave policy list\` for those that are.`,
          { cause },
        );
      }
    },
    list,
  };
}

/** Whole or not at all, also where the machine stops in the middle. */
async function writeDurably(folder: string, path: string, text: string): Promise<void> {
  const partial = `${path}.new`;
  const file = await open(partial, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(partial, path);
  const directory = await open(folder, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
