import { Findings } from "./findings.ts";
import type { Diagnostic } from "./model.ts";
import { type Path, placeOf, placeOfKey, readSource, type Source } from "./source.ts";
import { didYouMean } from "./suggest.ts";

/** `issuer/path` → id. */
export type Pins = Readonly<Record<string, string>>;

const pinForm = /^[a-z0-9-]{1,16}(\/[^/\s]+)+$/;

/** The pins of a lock file; undefined where anything in it is wrong, since a pin left out would be a door left open. */
export function parseLock(file: { readonly name: string; readonly text: string }): {
  pins?: Pins;
  diagnostics: Diagnostic[];
} {
  const findings = new Findings();
  const pins = readLock(file, findings);
  return { ...(pins ? { pins } : {}), diagnostics: findings.sorted([file.name]) };
}

/** As `parseLock`, reporting into `findings`. */
export function readLock(file: { readonly name: string; readonly text: string }, findings: Findings): Pins | undefined {
  const before = findings.errors;
  const source = readSource(file.name, file.text, findings);
  if (!source) return undefined;
  checkOutline(source, findings);
  const pins: Record<string, string> = Object.create(null);
  for (const [key, entry] of source.root.entries?.get("pins")?.node.entries ?? []) {
    const id = readPin(key, entry.node.value, source, findings);
    if (id !== undefined) pins[key] = id;
  }
  return findings.errors === before ? pins : undefined;
}

function checkOutline(source: Source, findings: Findings): void {
  const { entries } = source.root;
  const start = source.place(0, 1);
  for (const key of entries?.keys() ?? []) {
    if (key === "version" || key === "pins") continue;
    const help = didYouMean(key, ["version", "pins"]);
    findings.error("unknown_key", placeOfKey(source, [key]), `unknown key "${key}"`, { help });
  }
  if (entries?.get("version")?.node.value !== 1) {
    const place = entries?.has("version") ? placeOf(source, ["version"]) : start;
    const help = "write version: 1 on its first line";
    findings.error("version_unsupported", place, "a lock file says version: 1", { help });
  }
  if (entries?.get("pins")?.node.entries) return;
  const place = entries?.has("pins") ? placeOfKey(source, ["pins"]) : start;
  const help = 'for example pins: { "gitlab/acme/shop": "1042" }';
  findings.error("wrong_type", place, '"pins" must be a map', { help });
}

function readPin(key: string, value: unknown, source: Source, findings: Findings): string | undefined {
  const path: Path = ["pins", key];
  if (!pinForm.test(key)) {
    const help = "for example gitlab/acme/shop";
    findings.error("pin_invalid", placeOfKey(source, path), "a pin is an issuer's name and a path", { help });
    return undefined;
  }
  if (typeof value === "string" && /^[A-Za-z0-9-]{1,64}$/.test(value)) return value;
  const help = typeof value === "number" ? `put it in quotes: "${value}"` : 'for example "1042"';
  findings.error("pin_invalid", placeOf(source, path), "a pinned id is text", { help });
  return undefined;
}

/** The lock file for pins: sorted by code unit, so that the same pins are the same bytes. */
export function renderLock(pins: Pins): string {
  const lines = Object.keys(pins)
    .sort()
    .map((key) => `  ${JSON.stringify(key)}: ${JSON.stringify(pins[key])}\n`);
  const list = lines.length > 0 ? `pins:\n${lines.join("")}` : "pins: {}\n";
  return `# Ids of the projects that policy names; a path whose id changed is refused. Keep it in Git.\nversion: 1\n${list}`;
}
