import type { PolicyModel, SelectorModel, StringPattern } from "./model.ts";
import { startedProject } from "./parse-event-start.ts";
import type { ConfiguredIssuer } from "./reading.ts";

/** A project path that a selector spells out, and the value it stands in. */
export interface NamedProject {
  readonly path: string;
  readonly value: StringPattern;
}

/** Project paths a selector spells out: `project`, GitHub's `repository`, or Buildkite's organization and pipeline. A glob names none. */
export function selectorProjects(selector: SelectorModel): readonly NamedProject[] {
  const exact = (field: string) => {
    const clause = selector.clauses.find((one) => one.field === field);
    return (clause?.values ?? []).flatMap((value) =>
      typeof value === "object" && value.kind === "exact" ? [{ path: value.text, value }] : [],
    );
  };
  const pipelines = exact("organization").flatMap((organization) =>
    exact("pipeline").map(({ path, value }) => ({ path: `${organization.path}/${path}`, value })),
  );
  return [...exact("project"), ...exact("repository"), ...pipelines];
}

const idFields: ReadonlySet<string> = new Set(["project_id", "pipeline_id", "repository_id"]);

/** True where the selector names a project by an id already: GitLab's project, Buildkite's pipeline, GitHub's repository. */
export function hasId(selector: SelectorModel): boolean {
  return selector.clauses.some((clause) => idFields.has(clause.field));
}

/** Names of the issuers that a selector is about: a type is each issuer of it. */
export function issuersOf({ issuer }: SelectorModel, configured: readonly ConfiguredIssuer[]): readonly string[] {
  if (issuer === undefined) return [];
  const names = configured.filter(({ name, type }) => name === issuer || type === issuer).map(({ name }) => name);
  return names.length > 0 ? names : [issuer];
}

/** `issuer/path` of every project that a lock file should pin, sorted: what roles and events name by path alone. */
export function namedProjects(model: PolicyModel, configured: readonly ConfiguredIssuer[]): readonly string[] {
  const named = [...model.roles, ...model.events]
    .flatMap((rule) => rule.for)
    .filter((selector) => !hasId(selector))
    .flatMap((selector) =>
      issuersOf(selector, configured).flatMap((issuer) =>
        selectorProjects(selector).map(({ path }) => `${issuer}/${path}`),
      ),
    );
  const started = model.events
    .map(({ start }) => `${start.issuer}/${startedProject(start)}`)
    .filter((project) => !/\/\d+$/.test(project));
  return [...new Set([...named, ...started])].toSorted();
}
