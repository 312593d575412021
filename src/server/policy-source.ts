import { type FSWatcher, statSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { vocabulary } from "../ci/providers.ts";
import { type PolicyFiles, readPolicyFiles } from "../config/policy-files.ts";
import { WayleaveError } from "../core/errors.ts";
import type { IssuerType } from "../core/identity.ts";
import type { Canary } from "../core/policy-record.ts";
import { namedIdProblem } from "../core/spiffe-id.ts";
import { compile } from "../policy/compile.ts";
import type { Diagnostic, PolicyModel } from "../policy/model.ts";
import { parsePolicy } from "../policy/parse.ts";
import type { Policy } from "../policy/policy.ts";
import { runTests } from "../policy/run-tests.ts";
import type { PolicySources, SourceStatus } from "./policy-sources.ts";

export interface LoadedPolicy {
  readonly policy: Policy;
  readonly model: PolicyModel;
  readonly files: readonly string[];
  /** What it was made of: whoever parses and compiles these texts gets this policy. */
  readonly texts: PolicyFiles;
  readonly loadedAt: number;
  /** The candidate, where there is one: `policy` is then both. */
  readonly beside?: { readonly loaded: LoadedPolicy; readonly canary: Canary };
  /** What was in force until this came, where it came just now. */
  readonly replaces?: string;
  /** What the files say, where an operator set that aside. */
  readonly disk?: string;
}

/** A policy that cannot be loaded: `policy_invalid`, with every diagnostic. */
export class PolicyRefused extends WayleaveError {
  readonly diagnostics: readonly Diagnostic[];
  constructor(diagnostics: readonly Diagnostic[]) {
    const [first] = diagnostics;
    const where =
      first === undefined ? "" : `${first.place.file}:${first.place.line}:${first.place.column}: ${first.message}`;
    super(
      "policy_invalid",
      `${diagnostics.length === 1 ? "1 problem" : `${diagnostics.length} problems; the first`}: ${where}. See \`wayleave policy check\`.`,
    );
    this.diagnostics = diagnostics;
  }
}

/** The policy in force. It is replaced whole by one that parses, checks and passes its own tests, or not at all. */
export interface PolicySource {
  current(): LoadedPolicy;
  /** Why the last reload was refused; undefined when what is on disk is what is in force. */
  problem(): string | undefined;
  /** Where it is put together from several sources: each, and its trouble. */
  sources(): readonly SourceStatus[] | undefined;
  /** Throws `policy_invalid`; what was in force stays. */
  reload(): Promise<LoadedPolicy>;
  /** Reloads when the files change. Returns how to stop. */
  watch(onReload: (outcome: LoadedPolicy | PolicyRefused | WayleaveError) => void): () => void;
}

export interface PolicySourceOptions {
  readonly path: string;
  /** Read instead of the path, where there are several. */
  readonly sources?: PolicySources;
  readonly issuers: readonly { readonly name: string; readonly type: IssuerType }[];
  /** What a role may name with `spiffe_id`. */
  readonly spiffe: { readonly trustDomain: string; readonly prefixes: readonly string[] };
  readonly now: () => number;
}

/** Throws `policy_invalid` where the first load fails: a broker does not start without a policy. */
export async function openPolicySource(options: PolicySourceOptions): Promise<PolicySource> {
  let current = await load(options);
  let problem: string | undefined;

  const reloadOnce = async (): Promise<LoadedPolicy> => {
    try {
      const next = await load(options);
      problem = undefined;
      if (next.policy.version !== current.policy.version) current = next;
      return current;
    } catch (error) {
      problem = error instanceof Error ? error.message : "unknown";
      throw error;
    }
  };

  let last: Promise<unknown> = Promise.resolve();
  // One after the other: what was read earlier must not come into force later.
  const reload = (): Promise<LoadedPolicy> => {
    const next = last.then(reloadOnce, reloadOnce);
    last = next;
    return next;
  };

  return {
    current: () => current,
    problem: () => problem ?? options.sources?.problem(),
    sources: () => options.sources?.status(),
    reload,
    watch: (onReload) => {
      const paths = options.sources?.paths ?? [options.path];
      const told = (loaded: LoadedPolicy) => {
        onReload(loaded);
        const refused = options.sources?.problem();
        if (refused !== undefined) onReload(new WayleaveError("policy_invalid", `In force all the same: ${refused}.`));
      };
      const stops = paths.map((path) => watchFiles(path, () => void reload().then(told, onReload)));
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
}

async function load(options: PolicySourceOptions): Promise<LoadedPolicy> {
  return buildPolicy(await (options.sources?.read() ?? readPolicyFiles(options.path)), options);
}

/** The policy of these texts, its own tests passed. Throws `policy_invalid`. */
export function buildPolicy({ files, lock }: PolicyFiles, options: PolicySourceOptions): LoadedPolicy {
  const { model, diagnostics } = parsePolicy({
    files,
    vocabulary,
    issuers: options.issuers,
    ...(lock === undefined ? {} : { lock }),
  });
  if (model === undefined) throw new PolicyRefused(diagnostics.filter((each) => each.severity === "error"));
  const misnamed = model.roles.flatMap((role) => misnamedIdentity(role, options.spiffe));
  if (misnamed.length > 0) throw new PolicyRefused(misnamed);
  const policy = compile(model, vocabulary);
  const failures = runTests(policy, model, new Map(options.issuers.map(({ name, type }) => [name, type])));
  // Each of several sources was judged by its own tests: one team's must not stop another's change.
  if (failures.length > 0 && options.sources === undefined) throw new PolicyRefused(failures);
  const texts = lock === undefined ? { files } : { files, lock };
  return { policy, model, files: files.map((file) => file.name), texts, loadedAt: options.now() };
}

function misnamedIdentity(
  { name, spiffeId, place }: PolicyModel["roles"][number],
  allowed: PolicySourceOptions["spiffe"],
): readonly Diagnostic[] {
  const problem = spiffeId === undefined ? undefined : namedIdProblem(spiffeId, allowed);
  if (problem === undefined) return [];
  const message = `role ${name} names ${spiffeId}, which ${problem}`;
  const help = "name another one, or list its prefix under spiffe.prefixes of wayleave.yaml";
  return [{ severity: "error", code: "spiffe_id_not_allowed", message, place, help }];
}

/** An editor writes a file in several steps: wait until it has been quiet for a moment. */
const settleMs = 150;

/** The folder is watched, not the file: a file that is replaced by renaming another one would be watched no more. */
function watchFiles(path: string, onChange: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  let watcher: FSWatcher | undefined;
  try {
    const folder = statSync(path).isDirectory();
    watcher = watch(folder ? path : dirname(path), (_event, name) => {
      if (!folder && name !== null && name !== basename(path) && !isBeside(name)) return;
      clearTimeout(timer);
      timer = setTimeout(onChange, settleMs);
    });
    watcher.on("error", () => watcher?.close()); // SIGHUP still reloads
  } catch {
    return () => undefined; // no inotify left: SIGHUP still reloads
  }
  return () => {
    clearTimeout(timer);
    watcher?.close();
  };
}

/** The lock file, and `..data`, the link that Kubernetes turns when a mounted file changes. */
function isBeside(name: string): boolean {
  return name === "wayleave.lock" || name.startsWith("..");
}
