import { posix } from "node:path";
import { alsoAllowed, drawer, effectful, effects, generated, maxLines, mayImport, pureLayers } from "./import-table.ts";

export interface SourceFile {
  /** From the repository's root, with `/`. */
  readonly path: string;
  readonly text: string;
}

export interface Import {
  readonly from: string;
  /** Path of a file of this repository, or the bare name of a module. */
  readonly to: string;
  /** `type` is gone at run time; `lazy` is `import()`; `url` starts a file elsewhere, as a worker does. */
  readonly kind: "static" | "type" | "lazy" | "url";
}

export interface Violation {
  readonly rule: string;
  readonly file: string;
  readonly detail: string;
}

/** Everything in the tree that breaks the import table or the rules beside it. No files at all is a violation too. */
export function violations(files: readonly SourceFile[]): Violation[] {
  const imports = files.flatMap(importsOf);
  return [
    ...nothingSeen(files),
    ...files.flatMap(unknownLayer),
    ...imports.flatMap((edge) => forbidden(edge, imports)),
    ...imports.flatMap(testCodeInProduction),
    ...files.flatMap(unreadableImport),
    ...files.flatMap(barrel),
    ...cycles(imports),
    ...imports.flatMap(effectfulImport),
    ...files.flatMap(effectInPureLayer),
    ...files.flatMap(drawerName),
    ...files.flatMap(tooLong),
  ];
}

const statement = /^(import|export)(\s+type)?\s+(?:(?:[\w*{][^;"]*?\s)?from\s+)?"([^"]+)";?/gm;
const lazy = /\bimport\(\s*"([^"]+)"/g;
const url = /\bnew URL\(\s*"(\.[^"]+\.ts)",\s*import\.meta\.url/g;

/** Imports and re-exports of a file formatted by Biome: statements start their line, module names are in double quotes. */
export function importsOf({ path, text }: SourceFile): Import[] {
  const code = withoutComments(text);
  const found = (name: string, kind: Import["kind"]): Import => ({
    from: path,
    to: name.startsWith(".") ? posix.join(posix.dirname(path), name) : name,
    kind,
  });
  return [
    ...[...code.matchAll(statement)].map(([, , type, name = ""]) => found(name, type ? "type" : "static")),
    ...[...code.matchAll(lazy)].map(([, name = ""]) => found(name, "lazy")),
    ...[...code.matchAll(url)].map(([, name = ""]) => found(name, "url")),
  ];
}

/** Comments blanked, line by line, so that prose is never read as code. */
function withoutComments(text: string): string {
  return text
    .split("\n")
    .map((line) => (/^\s*(\/\/|\/\*|\*)/.test(line) ? "" : line.replace(/\s\/\/\s.*$/, "")))
    .join("\n");
}

/** The layer a file belongs to, whether or not the table knows it: `core`, `ci/gitlab`, `server`, `demo`. */
export function layerOf(path: string): string {
  const [top = "", folder = "", inner = "", ...deeper] = path.split("/");
  if (top !== "src") return top;
  if (!inner) return folder.replace(/\.ts$/, "");
  return deeper.length > 0 && `${folder}/*` in mayImport ? `${folder}/${inner}` : folder;
}

/** The layer's name in the table. */
function row(layer: string): string {
  return layer.includes("/") ? `${layer.split("/")[0]}/*` : layer;
}

function isTestCode(path: string): boolean {
  return /\.(test|fake)\.ts$/.test(path) || path.startsWith("test/");
}

function isOurs(name: string): boolean {
  return /^(src|demo|bench|scripts|test)\//.test(name);
}

function nothingSeen(files: readonly SourceFile[]): Violation[] {
  if (files.some(({ path }) => path.startsWith("src/"))) return [];
  return [{ rule: "nothing_seen", file: "src", detail: "no source file was found, so nothing was checked" }];
}

function unknownLayer({ path }: SourceFile): Violation[] {
  const layer = layerOf(path);
  if (row(layer) in mayImport) return [];
  return [{ rule: "unknown_layer", file: path, detail: `${layer} has no row in the import table` }];
}

function forbidden(edge: Import, imports: readonly Import[]): Violation[] {
  const from = layerOf(edge.from);
  if (isTestCode(edge.from)) return [];
  if (!isOurs(edge.to)) {
    if (from !== "core") return [];
    return [{ rule: "layer", file: edge.from, detail: `core imports ${edge.to}, and core imports nothing` }];
  }
  const to = layerOf(edge.to);
  const allowed = mayImport[row(from)] ?? [];
  if (from === to || allowed.includes("*") || allowed.includes(row(to))) return [];
  const exceptions = alsoAllowed.filter((entry) => entry.from.test(edge.from) && entry.to.test(edge.to));
  if (exceptions.some(({ only }) => conditionHolds(only, edge, imports))) return [];
  const condition = exceptions[0] ? ` (allowed only if ${exceptions[0].only}: ${exceptions[0].because})` : "";
  return [{ rule: "layer", file: edge.from, detail: `${from} imports ${to}: ${edge.to}${condition}` }];
}

function conditionHolds(only: "lazy" | "pure" | undefined, edge: Import, imports: readonly Import[]): boolean {
  if (only === "lazy") return edge.kind === "lazy" || edge.kind === "type" || edge.kind === "url";
  if (only === "pure") return edge.kind === "type" || !reachesEffects(edge.to, imports);
  return true;
}

/** Whether a file, or anything it needs at run time, imports what does input or output. Hashing is neither. */
function reachesEffects(file: string, imports: readonly Import[], seen = new Set<string>()): boolean {
  if (seen.has(file)) return false;
  seen.add(file);
  return imports
    .filter(({ from, kind }) => from === file && kind !== "type")
    .some(({ to }) => (isOurs(to) ? reachesEffects(to, imports, seen) : isEffectful(to) && to !== "node:crypto"));
}

function isEffectful(name: string): boolean {
  return name.startsWith("node:") || effectful.some((entry) => name === entry || name.startsWith(`${entry}/`));
}

function testCodeInProduction({ from, to }: Import): Violation[] {
  const ofTests = /\.test\.ts$/.test(to) || (isTestCode(to) && from.startsWith("src/") && !isTestCode(from));
  return ofTests ? [{ rule: "test_code", file: from, detail: `imports ${to}, which is test code` }] : [];
}

/** An `import()` of something computed could load anything. `new URL("./x.ts", import.meta.url)` can still be read. */
function unreadableImport({ path, text }: SourceFile): Violation[] {
  if (!path.startsWith("src/") || isTestCode(path)) return [];
  return [...withoutComments(text).matchAll(/(?<![.\w])import\((?!\s*(?:"|new URL\(\s*"))[^\n]*/g)].map(([found]) => ({
    rule: "unreadable_import",
    file: path,
    detail: `${found.trim()}: name the module in the import itself`,
  }));
}

const reExport = /^export\s+(?:type\s+)?[*{][^;"]*?\sfrom\s+"[^"]+";?/gm;

function barrel({ path, text }: SourceFile): Violation[] {
  const found = (detail: string): Violation[] => [{ rule: "barrel", file: path, detail }];
  if (posix.basename(path) === "index.ts") return found("an index.ts gives every file one name");
  const code = withoutComments(text);
  if (/^export\s+\*/m.test(code)) return found("export * hides where a name comes from");
  const onlyReExports = reExport.test(code) && code.replace(reExport, "").trim() === "";
  reExport.lastIndex = 0;
  return onlyReExports ? found("nothing but re-exports") : [];
}

/** One violation for each file that can reach itself by a shortest way, named where the cycle's first file is. */
function cycles(imports: readonly Import[]): Violation[] {
  const next = new Map<string, Set<string>>();
  for (const { from, to, kind } of imports) {
    if (isOurs(to) && kind !== "url") next.set(from, (next.get(from) ?? new Set()).add(to));
  }
  return [...next.keys()].flatMap((start) => {
    const way = wayBack(start, next);
    if (!way || way.some((file) => file < start)) return [];
    return [{ rule: "cycle", file: start, detail: [...way, start].join(" → ") }];
  });
}

/** Files from `start` to the last one before `start` again, by a shortest way. */
function wayBack(start: string, next: ReadonlyMap<string, ReadonlySet<string>>): string[] | undefined {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const file of queue) {
    for (const to of next.get(file) ?? []) {
      if (to === start) return trace(file, cameFrom);
      if (cameFrom.has(to)) continue;
      cameFrom.set(to, file);
      queue.push(to);
    }
  }
  return undefined;
}

function trace(last: string, cameFrom: ReadonlyMap<string, string>): string[] {
  const way = [last];
  for (let file = cameFrom.get(last); file !== undefined; file = cameFrom.get(file)) way.unshift(file);
  return way;
}

function isPure(path: string): boolean {
  return path.startsWith("src/") && pureLayers.includes(layerOf(path)) && !isTestCode(path);
}

function effectfulImport({ from, to }: Import): Violation[] {
  if (!isPure(from) || isOurs(to) || !isEffectful(to)) return [];
  return [{ rule: "pure_layer", file: from, detail: `${layerOf(from)} is pure, and imports ${to}` }];
}

function effectInPureLayer({ path, text }: SourceFile): Violation[] {
  if (!isPure(path)) return [];
  return withoutComments(text)
    .split("\n")
    .flatMap((line, at) =>
      effects
        .filter((effect) => effect.text.test(line))
        .map(({ name }) => ({
          rule: "pure_layer",
          file: `${path}:${at + 1}`,
          detail: `uses ${name}: take it as an argument`,
        })),
    );
}

function drawerName({ path }: SourceFile): Violation[] {
  const bad = path.split("/").find((part) => drawer.test(part.split(".")[0] ?? ""));
  return bad ? [{ rule: "drawer", file: path, detail: `${bad} says nothing about what is in it` }] : [];
}

function tooLong({ path, text }: SourceFile): Violation[] {
  if (generated.test(path)) return [];
  const lines = text.replace(/\n$/, "").split("\n").length;
  return lines > maxLines ? [{ rule: "too_long", file: path, detail: `${lines} lines; ${maxLines} is the most` }] : [];
}
