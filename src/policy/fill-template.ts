import type { Template } from "./model.ts";

/** Where a filled template stands: what it may hold follows from what separates it from its neighbours. */
export type TemplatePlace = "segment" | "token" | "label" | "account";

/**
 * What a value may hold without ever needing an escape. A path segment: RFC 3986 §2.3 unreserved. A NATS token: the same
 * without dots and `~`, as the name of a NATS account. A host label: RFC 1123 §2.1 in lower case.
 */
const allowed: Readonly<Record<TemplatePlace, RegExp>> = {
  segment: /^[A-Za-z0-9._~-]+$/,
  token: /^[A-Za-z0-9_-]+$/,
  account: /^[A-Za-z0-9_-]+$/,
  label: /^[a-z0-9-]+$/,
};
const maxLength: Readonly<Record<TemplatePlace, number>> = { segment: 255, token: 255, label: 63, account: 64 };

/**
 * The text of a template for one job, or undefined where it cannot be filled: a variable the job does not have, an empty
 * value, dots alone, or a character that would need escaping or could be read as structure (`/`, `.`, `*`, `>`, spaces).
 */
export function fillTemplate(
  template: Template,
  variables: Readonly<Record<string, string>>,
  place: TemplatePlace,
): string | undefined {
  let text = template.texts[0] ?? "";
  for (const [index, name] of template.names.entries()) {
    const value = Object.hasOwn(variables, name) ? variables[name] : undefined;
    if (typeof value !== "string" || !allowed[place].test(value) || /^\.+$/.test(value)) return undefined;
    text += value + (template.texts[index + 1] ?? "");
  }
  if (text === "" || text.length > maxLength[place] || text === "." || text === "..") return undefined;
  return place === "label" && (text.startsWith("-") || text.endsWith("-")) ? undefined : text;
}

/** The template of a text with `${…}` holes; a hole that is never closed is kept as a name that no job has. */
export function splitTemplate(source: string): Template {
  const texts: string[] = [];
  const names: string[] = [];
  let from = 0;
  for (let open = source.indexOf("${"); open !== -1; open = source.indexOf("${", from)) {
    const close = source.indexOf("}", open);
    const end = close === -1 ? source.length : close;
    texts.push(source.slice(from, open));
    names.push(source.slice(open + 2, end));
    from = Math.min(source.length, end + 1);
  }
  texts.push(source.slice(from));
  return { texts, names, source };
}

/** A target's host with its labels filled, or undefined where one cannot be. Lower case is the checker's business. */
export function fillHost(host: string, variables: Readonly<Record<string, string>>): string | undefined {
  if (!host.includes("${")) return host;
  const labels: string[] = [];
  // A dot inside `${…}` separates nothing.
  for (const label of host.split(/\.(?![^{]*\})/)) {
    const text = label.includes("${") ? fillTemplate(splitTemplate(label), variables, "label") : label;
    if (text === undefined || text === "") return undefined;
    labels.push(text);
  }
  return labels.join(".");
}
