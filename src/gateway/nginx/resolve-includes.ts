import type { Diagnostic } from "../../policy/model.ts";
import { type ConfigDirective, parseNginxConfig } from "./parse-config.ts";

/** How the lint sees files: text by path, undefined where there is none. */
export interface ConfigReader {
  read(path: string): string | undefined;
  /** Paths that match a pattern with `*`, sorted. Without it such an include is reported as unread. */
  glob?(pattern: string): readonly string[];
}

/** A configuration with every include replaced by what it holds, as NGINX reads it: relative to the first file's folder. */
export function loadNginxConfig(
  file: string,
  text: string,
  reader: ConfigReader,
): { readonly directives: readonly ConfigDirective[]; readonly diagnostics: readonly Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  const folder = file.slice(0, file.lastIndexOf("/") + 1);

  const parse = (path: string, content: string, outer: readonly string[]): readonly ConfigDirective[] => {
    const parsed = parseNginxConfig(path, content);
    diagnostics.push(...parsed.diagnostics);
    return expand(parsed.directives, [...outer, path]);
  };

  const expand = (directives: readonly ConfigDirective[], open: readonly string[]): ConfigDirective[] =>
    directives.flatMap((directive) => {
      if (directive.name === "include") return included(directive, open);
      return directive.block === undefined ? [directive] : [{ ...directive, block: expand(directive.block, open) }];
    });

  const included = (directive: ConfigDirective, open: readonly string[]): readonly ConfigDirective[] => {
    const written = directive.args[0]?.text ?? "";
    const pattern = written.startsWith("/") ? written : folder + written;
    const unread = (message: string): readonly ConfigDirective[] => {
      const help = "let the lint read what NGINX reads: run it where the files are";
      diagnostics.push({ severity: "warning", code: "include_unread", message, place: directive.place, help });
      return [];
    };
    if (open.includes(pattern)) return unread("this file is being included already: the includes go round in a circle");
    if (/[*?[]/.test(pattern)) {
      if (reader.glob === undefined) return unread("this include names several files, which were not read");
      return reader
        .glob(pattern)
        .filter((path) => !open.includes(path))
        .flatMap((path) => parse(path, reader.read(path) ?? "", open));
    }
    const content = reader.read(pattern);
    // The gateway's secret is rightly unreadable for whoever lints.
    if (content === undefined) return /secret[^/]*\.conf$/.test(pattern) ? [] : unread("this file could not be read");
    return parse(pattern, content, open);
  };

  return { directives: parse(file, text, []), diagnostics };
}
