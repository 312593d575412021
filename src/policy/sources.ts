import { type Bounds, checkBounds, checkPinBounds, type Origin } from "./bounds.ts";
import type { Issuers } from "./covers-selector.ts";
import { parseLock, renderLock } from "./lock.ts";
import type { Diagnostic, PolicyModel } from "./model.ts";
import { parsePolicy } from "./parse.ts";
import type { PolicyInput, PolicyText } from "./reading.ts";
import { sha256 } from "./sha256.ts";

/** One of several places that a policy is put together from. */
export interface PolicySourceTexts {
  readonly name: string;
  readonly bounds?: Bounds;
  /** No two sources have files of the same name. */
  readonly files: readonly PolicyText[];
  readonly lock?: PolicyText;
}

export interface JudgedSources {
  /** Absent where a diagnostic is an error. */
  readonly model?: PolicyModel;
  readonly diagnostics: readonly Diagnostic[];
  /** All of them as one policy: whoever parses these gets the same. */
  readonly files: readonly PolicyText[];
  readonly lock?: PolicyText;
}

/** Several sources as one policy, each within its bounds. Pure. Not checked: the policy's own tests. */
export function judgeSources(
  sources: readonly PolicySourceTexts[],
  input: Omit<PolicyInput, "files" | "lock">,
): JudgedSources {
  const files = sources.flatMap((source) => source.files);
  const types = new Map((input.issuers ?? []).map(({ name, type }) => [name, type]));
  const issuers: Issuers = { types, vocabulary: input.vocabulary };
  const locks = joinLocks(sources, issuers);
  const texts = locks.lock === undefined ? { files } : { files, lock: locks.lock };
  const { model, diagnostics } = parsePolicy({ ...input, ...texts });
  const overstepped = model === undefined ? [] : checkBounds(model, originIn(sources), issuers);
  const all = [...locks.diagnostics, ...diagnostics, ...overstepped];
  const sound = all.every(({ severity }) => severity !== "error");
  return { ...texts, diagnostics: all, ...(sound && model !== undefined ? { model } : {}) };
}

/** Which source a file is of. */
export function originIn(sources: readonly PolicySourceTexts[]): (file: string) => Origin {
  const origins = new Map(
    sources.flatMap(({ name: source, bounds, files }) =>
      files.map((file): [string, Origin] => [file.name, bounds === undefined ? { source } : { source, bounds }]),
    ),
  );
  // What no source has, nobody may say.
  return (file) => origins.get(file) ?? { source: "", bounds: { projects: [], targets: [], hosts: [] } };
}

/** First 12 hex digits of the SHA-256 over a source's texts, whatever their names and order. */
export function sourceVersion({ files, lock }: PolicySourceTexts): string {
  const texts = files.map((file) => sha256(file.text)).sort();
  return sha256([...texts, lock === undefined ? "" : sha256(lock.text)].join("\n")).slice(0, 12);
}

/** One lock file of all; the same path pinned to two ids is nobody's to decide. */
function joinLocks(
  sources: readonly PolicySourceTexts[],
  issuers: Issuers,
): { readonly lock?: PolicyText; readonly diagnostics: readonly Diagnostic[] } {
  const locked = sources.flatMap(({ lock, bounds }) => (lock === undefined ? [] : [{ lock, bounds }]));
  const [only, second] = locked;
  const pins: Record<string, string> = Object.create(null);
  const diagnostics = locked.flatMap(({ lock, bounds }) => {
    const read = parseLock(lock);
    const own = Object.entries(read.pins ?? {});
    const clashes = own.filter(([path, id]) => (pins[path] ?? id) !== id);
    for (const [path, id] of own) pins[path] ??= id;
    return [
      ...(second === undefined ? [] : read.diagnostics), // a lock file that is alone is read with the policy
      ...(bounds === undefined ? [] : checkPinBounds(read.pins ?? {}, lock.name, bounds, issuers)),
      ...clashes.map(([path]) => pinnedTwice(path, lock)),
    ];
  });
  if (only === undefined) return { diagnostics };
  const lock = second === undefined ? only.lock : { name: "wayleave.lock", text: renderLock(pins) };
  return { lock, diagnostics };
}

function pinnedTwice(path: string, { name: file }: PolicyText): Diagnostic {
  return {
    severity: "error",
    code: "pin_clashes",
    place: { file, line: 1, column: 1, length: 1 },
    message: `${path} is pinned to another id in another source`,
    help: "leave it to the source that owns the project",
  };
}

export interface Acceptance {
  /** What is in force now, in the order of the sources. */
  readonly accepted: readonly PolicySourceTexts[];
  /** Why a source's new version is not, by its name. */
  readonly refused: ReadonlyMap<string, readonly Diagnostic[]>;
}

/**
 * The newest version of each source that goes together with the others: all as they are where nothing is wrong, else one
 * after the other in their order, each beside the last good versions of the rest. What one source writes never keeps another
 * out, unless both claim the same name: then the one that was there first stays. `judge` gives the errors of a set; of the
 * policy's own tests only those of the sources named count, since another team's change must not be stopped by a test of ours.
 * A source without any good version is left out: whoever starts by that would miss what it denies.
 */
export function acceptSources(
  fresh: readonly PolicySourceTexts[],
  good: ReadonlyMap<string, PolicySourceTexts>,
  judge: (sources: readonly PolicySourceTexts[], testsOf: readonly string[]) => readonly Diagnostic[],
): Acceptance {
  const changed = fresh.filter((source) => !isSame(source, good.get(source.name)));
  const names = changed.map(({ name }) => name);
  if (judge(fresh, names).length === 0) return { accepted: fresh, refused: new Map() };
  const last = fresh.flatMap(({ name }) => good.get(name) ?? []);
  const force = new Map<string, PolicySourceTexts>();
  const refused = new Map<string, readonly Diagnostic[]>();
  const inOrder = () => fresh.flatMap(({ name }) => force.get(name) ?? []);
  const replace = (source: PolicySourceTexts, testsOf: readonly string[]): boolean => {
    const before = force.get(source.name);
    force.set(source.name, source);
    const errors = judge(inOrder(), testsOf);
    if (errors.length === 0) return refused.delete(source.name) || true;
    refused.set(source.name, errors);
    if (before === undefined) force.delete(source.name);
    else force.set(source.name, before);
    return false;
  };
  // What was good may be so no more: bounds change too.
  if (judge(last, []).length === 0) for (const source of last) force.set(source.name, source);
  else untilNoneGoes(last, (source) => replace(source, []));
  untilNoneGoes(changed, (source) => replace(source, [source.name]));
  return { accepted: inOrder(), refused };
}

/** Again for those that did not go, as long as some do: one may need what another one brings. */
function untilNoneGoes<T>(items: readonly T[], goes: (item: T) => boolean): void {
  let waiting = items;
  for (let before = -1; before !== waiting.length; ) {
    before = waiting.length;
    waiting = waiting.filter((item) => !goes(item));
  }
}

const isSame = (source: PolicySourceTexts, other: PolicySourceTexts | undefined): boolean =>
  other !== undefined && sourceVersion(source) === sourceVersion(other);
