import { type Parsed, parsed, refused } from "./findings.ts";
import type { Template } from "./model.ts";
import { didYouMean } from "./suggest.ts";

/** Template variables that every CI can fill, where the caller names no others. */
export const defaultVariables: readonly string[] = [
  "job.project_id",
  "job.pipeline_id",
  "job.id",
  "job.ref_slug",
  "environment.slug",
  "environment.name",
];

/**
 * Text with `${…}` holes. Every name must be one of `variables`; text without a hole is a template of one text.
 * Not checked: what the text between the holes may hold. Codes: `template_invalid`, `template_unknown`.
 */
export function parseTemplate(source: string, variables: readonly string[]): Parsed<Template> {
  const texts: string[] = [];
  const names: string[] = [];
  let from = 0;
  for (let open = source.indexOf("${"); open !== -1; open = source.indexOf("${", from)) {
    const close = source.indexOf("}", open);
    if (close === -1) return refused("template_invalid", "this ${ is never closed", open, 2, "close it with }");
    const name = source.slice(open + 2, close);
    if (!variables.includes(name)) {
      if (!/^[a-z_]+(\.[a-z_]+)*$/.test(name)) {
        const help = "write ${name} without spaces, for example ${job.project_id}";
        return refused("template_invalid", `"${name}" is not a variable name`, open, close + 1 - open, help);
      }
      return refused("template_unknown", `no variable \${${name}}`, open + 2, name.length, didYouMean(name, variables));
    }
    texts.push(source.slice(from, open));
    names.push(name);
    from = close + 1;
  }
  texts.push(source.slice(from));
  return parsed({ texts, names, source });
}

/** True where the text has a hole to fill. */
export function isTemplate(text: string): boolean {
  return text.includes("${");
}

/** Splits at a separator that stands outside `${…}`; each part with its offset. */
export function splitOutside(text: string, separator: string): { readonly text: string; readonly at: number }[] {
  const parts: { text: string; at: number }[] = [];
  let from = 0;
  let at = 0;
  while (at < text.length) {
    const close = text.startsWith("${", at) ? text.indexOf("}", at) : -1;
    if (close !== -1) at = close + 1;
    else if (text[at] === separator) {
      parts.push({ text: text.slice(from, at), at: from });
      from = ++at;
    } else at++;
  }
  parts.push({ text: text.slice(from), at: from });
  return parts;
}
