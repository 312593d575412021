import type { IssuerType } from "../core/identity.ts";
import { checkPolicy } from "./check.ts";
import { checkShape } from "./check-shape.ts";
import { Findings } from "./findings.ts";
import { readLock } from "./lock.ts";
import type { DenyModel, Diagnostic, EventModel, Mode, Place, PolicyModel, RoleModel, TestModel } from "./model.ts";
import { parseEvent } from "./parse-event.ts";
import { parseDeny, parseRole } from "./parse-role.ts";
import { checkName } from "./parse-rule.ts";
import { parseSelector } from "./parse-selector.ts";
import { kindOf, parseTarget } from "./parse-target.ts";
import { defaultVariables } from "./parse-template.ts";
import { parseTest } from "./parse-test.ts";
import type { PolicyInput, PolicyParts, PolicyText, Reading } from "./reading.ts";
import { Deny, Event, FileOutline, Role, Selector, Target, Test } from "./schema.ts";
import { sha256 } from "./sha256.ts";
import { type Path, placeOf, placeOfKey, readSource, type Source } from "./source.ts";

const maxFiles = 64;

/**
 * One policy from its files: whole or not at all. `model` is there exactly where no diagnostic is an error. Names are unique
 * across files and the order of files means nothing. Not checked here: the policy's own `tests`. Never throws for any text.
 */
export function parsePolicy(input: PolicyInput): { readonly model?: PolicyModel; readonly diagnostics: Diagnostic[] } {
  const findings = new Findings();
  const names = [...input.files.map((file) => file.name), ...(input.lock ? [input.lock.name] : [])];
  const parts = countProblem(input.files, findings) ? undefined : readParts(input, findings);
  const pins = input.lock ? readLock(input.lock, findings) : {};
  if (parts && pins) {
    checkPolicy({ ...parts, pins, locked: input.lock !== undefined, input, findings });
  }
  const diagnostics = findings.sorted(names);
  if (findings.errors > 0 || !parts || !pins) return { diagnostics };
  const targets = [...parts.reading.targets.values()].flatMap((target) => target.read ?? []);
  const { roles, deny, events, tests } = parts;
  return { model: { targets, roles, deny, events, tests, pins, version: versionOf(input) }, diagnostics };
}

function countProblem(files: readonly PolicyText[], findings: Findings): boolean {
  const [first] = files;
  const place: Place = { file: first?.name ?? "policy", line: 1, column: 1, length: 1 };
  if (first === undefined)
    findings.error("no_files", place, "there is no policy file", { help: "add one that says version: 1" });
  else if (files.length > maxFiles) {
    findings.error("too_many_files", place, `${files.length} files, and at most ${maxFiles} make one policy`, {
      help: "merge some",
    });
  } else return false;
  return true;
}

/** First 12 hex digits of the SHA-256 over the texts, whatever their names and order. */
function versionOf(input: PolicyInput): string {
  const texts = input.files.map((file) => sha256(file.text)).sort();
  return sha256([...texts, input.lock ? sha256(input.lock.text) : ""].join("\n")).slice(0, 12);
}

interface OpenFile {
  readonly source: Source;
  readonly mode: Mode;
}

/** Targets and names first, over all files, so that a reference may come before what it means. */
function readParts(input: PolicyInput, findings: Findings): PolicyParts {
  const issuers = new Map<string, IssuerType>();
  for (const type of Object.keys(input.vocabulary) as IssuerType[]) issuers.set(type, type);
  for (const issuer of input.issuers ?? []) issuers.set(issuer.name, issuer.type);
  const { vocabulary, variables = defaultVariables } = input;
  const reading: Reading = {
    findings,
    vocabulary,
    issuers,
    configured: input.issuers ?? [],
    variables,
    events: new Set(),
    causes: [],
    places: new WeakMap(),
    targets: new Map(),
    who: new Map(),
  };
  const files = input.files.flatMap((file) => openFile(file, findings) ?? []);
  for (const file of files) readTargets(file, reading);
  for (const file of files) readWho(file.source, reading);
  const names = new Map<string, Place>();
  const ids = new Map<string, Place>();
  const roles = files.flatMap((file) => readRoles(file, names, ids, reading));
  const events = readEvents(files, reading);
  return { reading, roles, deny: readDenies(files, ids, reading), events, tests: readTests(files, reading) };
}

function readEvents(files: readonly OpenFile[], reading: Reading): EventModel[] {
  const events: EventModel[] = [];
  const names = new Map<string, Place>();
  for (const { source } of files) {
    for (const [name, path, value] of entries(source, "events")) {
      if (reading.findings.full) break;
      const place = placeOfKey(source, path);
      checkName(name, place, reading);
      unique("duplicate_event", `event "${name}"`, name, place, names, reading.findings);
      reading.events.add(name);
      const written = checkShape(Event, value, source, path, reading.findings);
      const event = written && parseEvent(name, written, source, path, reading);
      if (event) events.push(event);
    }
  }
  return events;
}

function readDenies(files: readonly OpenFile[], ids: Map<string, Place>, reading: Reading): DenyModel[] {
  const denies: DenyModel[] = [];
  for (const [index, [source, path, value]] of items(files, "deny").entries()) {
    if (reading.findings.full) break;
    const written = checkShape(Deny, value, source, path, reading.findings);
    const deny = written && parseDeny(`deny-${index + 1}`, written, source, path, reading);
    if (!deny) continue;
    unique("duplicate_id", `id "${deny.id}"`, deny.id, deny.place, ids, reading.findings);
    denies.push(deny);
  }
  return denies;
}

function readTests(files: readonly OpenFile[], reading: Reading): TestModel[] {
  const tests: TestModel[] = [];
  const names = new Map<string, Place>();
  for (const [source, path, value] of items(files, "tests")) {
    if (reading.findings.full) break;
    const written = checkShape(Test, value, source, path, reading.findings);
    const test = written && parseTest(written, source, path, reading);
    if (!test) continue;
    unique("duplicate_test", "a test of this name", test.name, test.place, names, reading.findings);
    tests.push(test);
  }
  return tests;
}

function openFile(file: PolicyText, findings: Findings): OpenFile | undefined {
  const source = readSource(file.name, file.text, findings);
  if (!source) return undefined;
  const value = source.root.value;
  const help = "write version: 1 on its first line";
  if (source.root.entries === undefined) {
    const message = value === null ? "the file is empty" : "a policy file is a map";
    findings.error(value === null ? "version_missing" : "wrong_type", source.place(0, 1), message, { help });
    return undefined;
  }
  const version = source.root.entries.get("version");
  if (!version) findings.error("version_missing", source.place(0, 1), "the file does not say its version", { help });
  else if (version.node.value !== 1) {
    findings.error("version_unsupported", placeOf(source, ["version"]), "this version of the language is not known", {
      help: "write version: 1",
    });
  }
  const outline = checkShape(FileOutline, { ...(value as object), version: 1 }, source, [], findings);
  return { source, mode: outline?.mode ?? "enforce" };
}

function entries(source: Source, section: string): [name: string, path: Path, value: unknown][] {
  const found = source.root.entries?.get(section)?.node.entries ?? new Map<string, never>();
  return [...found].map(([name, entry]) => [name, [section, name], entry.node.value]);
}

function items(files: readonly OpenFile[], section: string): [source: Source, path: Path, value: unknown][] {
  return files.flatMap(({ source }) => {
    const found = source.root.entries?.get(section)?.node.items ?? [];
    return found.map((item, index): [Source, Path, unknown] => [source, [section, index], item.value]);
  });
}

function readTargets({ source, mode }: OpenFile, reading: Reading): void {
  for (const [name, path, value] of entries(source, "targets")) {
    if (reading.findings.full) break;
    const place = placeOfKey(source, path);
    checkName(name, place, reading);
    const earlier = reading.targets.get(name)?.place;
    if (earlier) twice("duplicate_target", `target "${name}"`, place, earlier, reading.findings);
    const written = checkShape(Target, value, source, path, reading.findings);
    const read = written && parseTarget(name, written, source, path, mode, reading);
    const kind = kindOf(value);
    const hostPlaces = (read?.hosts ?? []).map((_, index) => placeOf(source, [...path, "http", "hosts", index]));
    if (earlier) continue;
    reading.targets.set(name, { name, place, hostPlaces, ...(kind ? { kind } : {}), ...(read ? { read } : {}) });
  }
}

function readWho(source: Source, reading: Reading): void {
  for (const [name, path, value] of entries(source, "who")) {
    if (reading.findings.full) break;
    const place = placeOfKey(source, path);
    checkName(name, place, reading);
    const earlier = reading.who.get(name)?.place;
    if (earlier) twice("duplicate_who", `"${name}" under who`, place, earlier, reading.findings);
    const written = checkShape(Selector, value, source, path, reading.findings);
    const read = written && parseSelector(written, source, path, name, reading);
    if (!earlier) reading.who.set(name, { name, place, ...(read ? { read } : {}) });
  }
}

function readRoles(
  { source, mode }: OpenFile,
  names: Map<string, Place>,
  ids: Map<string, Place>,
  reading: Reading,
): RoleModel[] {
  const roles: RoleModel[] = [];
  for (const [name, path, value] of entries(source, "roles")) {
    if (reading.findings.full) break;
    const place = placeOfKey(source, path);
    checkName(name, place, reading);
    unique("duplicate_role", `role "${name}"`, name, place, names, reading.findings);
    const written = checkShape(Role, value, source, path, reading.findings);
    const role = written && parseRole(name, written, source, path, mode, reading);
    if (!role) continue;
    if (names.get(name) === place)
      unique("duplicate_id", `id "${role.id}"`, role.id, idPlace(source, path, role, name), ids, reading.findings);
    roles.push(role);
  }
  return roles;
}

function idPlace(source: Source, path: Path, role: RoleModel, name: string): Place {
  return role.id === name ? placeOfKey(source, path) : placeOf(source, [...path, "id"]);
}

function unique(
  code: string,
  what: string,
  name: string,
  place: Place,
  taken: Map<string, Place>,
  findings: Findings,
): void {
  const earlier = taken.get(name);
  if (earlier) twice(code, what, place, earlier, findings);
  else taken.set(name, place);
}

function twice(code: string, what: string, place: Place, earlier: Place, findings: Findings): void {
  findings.error(code, place, `${what} is here twice`, {
    help: "rename one of them",
    note: `first at ${earlier.file}:${earlier.line}`,
  });
}
