import { mkdir, open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { vocabulary } from "../ci/providers.ts";
import type { PolicySourceConfig } from "../config/config.ts";
import { type PolicyFiles, readPolicyFiles } from "../config/policy-files.ts";
import { WayleaveError } from "../core/errors.ts";
import { compile } from "../policy/compile.ts";
import type { Diagnostic } from "../policy/model.ts";
import type { ConfiguredIssuer } from "../policy/reading.ts";
import { runTests } from "../policy/run-tests.ts";
import { acceptSources, judgeSources, originIn, type PolicySourceTexts, sourceVersion } from "../policy/sources.ts";

/** One source as status shows it. */
export interface SourceStatus {
  readonly name: string;
  /** What is in force of it. */
  readonly version: string;
  /** Why what it says now is not, or what is wrong with what is. */
  readonly problem?: string;
}

/** Several sources as one policy, each with its last good version. */
export interface PolicySources {
  /** The paths to watch. */
  readonly paths: readonly string[];
  /** The texts to put in force. Throws `policy_invalid` where a source has no good version. */
  read(): Promise<PolicyFiles>;
  status(): readonly SourceStatus[];
  /** One line of all that is wrong; undefined where nothing is. */
  problem(): string | undefined;
}

export interface PolicySourcesOptions {
  readonly sources: readonly PolicySourceConfig[];
  readonly issuers: readonly ConfiguredIssuer[];
  /** Where the last good version of each is kept, so that a restart does not lose it. */
  readonly folder: string;
}

export function openPolicySources({ sources, issuers, folder }: PolicySourcesOptions): PolicySources {
  let known: readonly SourceStatus[] = [];

  const judge = (set: readonly PolicySourceTexts[], testsOf: readonly string[]): readonly Diagnostic[] => {
    const { model, diagnostics } = judgeSources(set, { vocabulary, issuers });
    const errors = diagnostics.filter(({ severity }) => severity === "error");
    if (model === undefined) return errors;
    const origin = originIn(set);
    const failed = runTests(compile(model, vocabulary), model, new Map(issuers.map(({ name, type }) => [name, type])));
    return failed.filter(({ place }) => testsOf.includes(origin(place.file).source));
  };

  return {
    paths: sources.map(({ path }) => path),
    status: () => known,
    problem() {
      const troubled = known.filter(({ problem }) => problem !== undefined);
      if (troubled.length === 0) return undefined;
      return troubled.map(({ name, problem }) => `source ${name}: ${problem}`).join("; ");
    },
    async read() {
      const good = await readKept(folder, sources);
      const unread = new Map<string, string>();
      const fresh: PolicySourceTexts[] = [];
      for (const source of sources) {
        const found = await readSource(source).catch((error: unknown) => {
          unread.set(source.name, error instanceof WayleaveError ? error.message : "it cannot be read");
          return good.get(source.name);
        });
        if (found !== undefined) fresh.push(found);
      }
      const { accepted, refused } = acceptSources(fresh, good, judge);
      const missing = sources.find(({ name }) => !accepted.some((source) => source.name === name));
      if (missing !== undefined) {
        const why = unread.get(missing.name) ?? firstOf(refused.get(missing.name) ?? []);
        throw new WayleaveError(
          "policy_invalid",
          `Source ${missing.name} has no good version, and what it denies would be missing: ${why}. See \`wayleave policy check\`.`,
        );
      }
      const failing = judge(
        accepted,
        accepted.map(({ name }) => name),
      );
      const origin = originIn(accepted);
      const troubles = await Promise.all(
        accepted.map(async (source): Promise<SourceStatus> => {
          const { name } = source;
          const unkept = await keep(folder, source, good.get(name));
          const failed = failing.filter(({ place }) => origin(place.file).source === name);
          const problem =
            unread.get(name) ??
            (refused.has(name) ? `refused: ${firstOf(refused.get(name) ?? [])}` : undefined) ??
            (failed.length > 0 ? `in force, but another source changed: ${firstOf(failed)}` : unkept);
          return { name, version: sourceVersion(source), ...(problem === undefined ? {} : { problem }) };
        }),
      );
      known = troubles;
      const { files, lock } = judgeSources(accepted, { vocabulary, issuers });
      return lock === undefined ? { files } : { files, lock };
    },
  };
}

function firstOf(diagnostics: readonly Diagnostic[]): string {
  const [first] = diagnostics;
  if (first === undefined) return "it does not go together with the others";
  const { place, message } = first;
  const more = diagnostics.length > 1 ? ` (and ${diagnostics.length - 1} more)` : "";
  return `${place.file}:${place.line}:${place.column}: ${message}${more}`;
}

/** Files are shown by the source's name: no two sources have one of the same name. */
async function readSource({ name, path, bounds }: PolicySourceConfig): Promise<PolicySourceTexts> {
  const { files, lock } = await readPolicyFiles(path, name);
  const own = files.map((file) => (file.name === name ? { ...file, name: `${name}.yaml` } : file));
  const locked = lock === undefined ? {} : { lock: { ...lock, name: `${name}/wayleave.lock` } };
  return { name, files: own, ...locked, ...(bounds === undefined ? {} : { bounds }) };
}

const pathOf = (folder: string, name: string) => join(folder, `${name}.json`);

/** Within the bounds of today: what was good may overstep since. A file that cannot be read is none. */
async function readKept(
  folder: string,
  sources: readonly PolicySourceConfig[],
): Promise<ReadonlyMap<string, PolicySourceTexts>> {
  const found = await Promise.all(
    sources.map(async ({ name, bounds }): Promise<readonly [string, PolicySourceTexts][]> => {
      try {
        const { files, lock } = JSON.parse(await readFile(pathOf(folder, name), "utf8")) as PolicyFiles;
        if (!Array.isArray(files)) return [];
        const texts = lock === undefined ? { files } : { files, lock };
        return [[name, { name, ...texts, ...(bounds === undefined ? {} : { bounds }) }]];
      } catch {
        return []; // never kept, or not whole: then only what the source says now counts
      }
    }),
  );
  return new Map(found.flat());
}

/** Durable before it is in force; what cannot be kept is in force all the same, and said. */
async function keep(
  folder: string,
  source: PolicySourceTexts,
  last: PolicySourceTexts | undefined,
): Promise<string | undefined> {
  if (last !== undefined && sourceVersion(last) === sourceVersion(source)) return undefined;
  const { name, files, lock } = source;
  const path = pathOf(folder, name);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = await open(`${path}.new`, "w", 0o600);
    try {
      await file.writeFile(JSON.stringify(lock === undefined ? { files } : { files, lock }));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
    return undefined;
  } catch (error) {
    return `in force, but it cannot be kept for a restart (${(error as NodeJS.ErrnoException).code})`;
  }
}
