import { WayleaveError } from "../../core/errors.ts";

/** A value of nats-server's configuration. Text is literal, whatever it holds. */
export type ConfValue = string | number | boolean | ConfMap | readonly ConfValue[];

export interface ConfMap {
  readonly entries: readonly ConfEntry[];
}

export interface ConfSetting {
  readonly key: string;
  readonly value: ConfValue;
}

export type ConfEntry =
  | ConfSetting
  /** Each line gets its own `#`. */
  | { readonly comment: string }
  /** Another file, relative to the one that says it. */
  | { readonly include: string };

/** One setting: `entry("max_payload", 1048576)`. */
export function entry(key: string, value: ConfValue): ConfSetting {
  return { key, value };
}

/** A block: `map(entry("type", "full"))`. */
export function map(...entries: readonly ConfEntry[]): ConfMap {
  return { entries };
}

/**
 * The configuration as text: the only place that writes nats-server's syntax. Throws `render_refused` for a value with a
 * control character, which could end a line and begin another setting.
 */
export function printConf(entries: readonly ConfEntry[]): string {
  return `${lines(entries, "").join("\n")}\n`;
}

function lines(entries: readonly ConfEntry[], indent: string): string[] {
  return entries.flatMap((each) => {
    if ("comment" in each) return each.comment.split("\n").map((text) => `${indent}# ${printable(text)}`.trimEnd());
    if ("include" in each) return [`${indent}include ${quoted(each.include)}`];
    return setting(each.key, each.value, indent);
  });
}

/** Words the lexer knows and would not take for a key are quoted, and so is whatever is no plain word. */
const plainKey = /^(?!include$)[a-z][a-z_]*$/;

function setting(key: string, value: ConfValue, indent: string): string[] {
  const name = plainKey.test(key) ? key : quoted(key);
  if (isMap(value)) {
    if (value.entries.length === 0) return [`${indent}${name} {}`];
    return [`${indent}${name} {`, ...lines(value.entries, `${indent}  `), `${indent}}`];
  }
  return [`${indent}${name}: ${scalar(value)}`];
}

function scalar(value: ConfValue): string {
  if (typeof value === "string") return quoted(value);
  if (typeof value !== "object") return String(value);
  if (isMap(value)) return `{ ${value.entries.flatMap((each) => lines([each], "")).join(", ")} }`;
  return value.length === 0 ? "[]" : `[ ${value.map(scalar).join(", ")} ]`;
}

/** Quotes end every other meaning: numbers, sizes, `$VARIABLES`, dates. */
function quoted(text: string): string {
  return `"${printable(text).replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (!/[\u0000-\u001f\u007f]/.test(text)) return text;
  throw new WayleaveError(
    "render_refused",
    `A configuration value holds a control character: ${JSON.stringify(text)}. Remove it.`,
  );
}

function isMap(value: ConfValue): value is ConfMap {
  return typeof value === "object" && "entries" in value && !Array.isArray(value);
}
