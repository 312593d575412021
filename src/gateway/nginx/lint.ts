import type { Diagnostic } from "../../policy/model.ts";
import { scopesOf } from "./config-scope.ts";
import { headerRules } from "./lint-headers.ts";
import { locationRules } from "./lint-location.ts";
import { reachRules } from "./lint-reach.ts";
import { staleRules } from "./lint-stale.ts";
import { type ConfigReader, loadNginxConfig } from "./resolve-includes.ts";

export interface LintInput extends ConfigReader {
  /** Path of the first file, `nginx.conf`; includes are relative to its folder. */
  readonly file: string;
  readonly text: string;
  /** Targets the gateway fronts: with them, a server of one of their hosts that forgot the include is found too. */
  readonly targets?: readonly LintTarget[];
}

export interface LintTarget {
  readonly name: string;
  readonly hosts: readonly string[];
  /** As policy says now: what was rendered under another mode is stale. */
  readonly mode?: "observe" | "enforce";
}

/**
 * What in a configuration would let requests past the rendered includes, or take their effect away; by file, line and code.
 * Not checked: what needs NGINX itself (`nginx -t`) and code in Lua or njs.
 */
export function lintNginx(input: LintInput): Diagnostic[] {
  const { directives, diagnostics } = loadNginxConfig(input.file, input.text, input);
  if (diagnostics.some(({ code }) => code === "config_syntax")) return [...diagnostics];
  const scopes = scopesOf(directives);
  const hosts = new Set((input.targets ?? []).flatMap((target) => target.hosts));
  const enforced = new Set((input.targets ?? []).filter(({ mode }) => mode === "enforce").map(({ name }) => name));
  const found = [
    ...diagnostics,
    ...locationRules(scopes),
    ...headerRules(scopes),
    ...reachRules(scopes, hosts, input.file),
    ...staleRules(scopes, enforced),
  ];
  const unique = new Map(found.map((diagnostic) => [JSON.stringify([diagnostic.code, diagnostic.place]), diagnostic]));
  return [...unique.values()].toSorted(
    (a, b) =>
      compare(a.place.file, b.place.file) ||
      a.place.line - b.place.line ||
      a.place.column - b.place.column ||
      compare(a.code, b.code),
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
