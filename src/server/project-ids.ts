import type { ProjectIdOf } from "../api/project-ids.ts";
import { WayleaveError } from "../core/errors.ts";
import type { SessionTable } from "../session/table.ts";
import type { ConnectedIssuer } from "./issuers.ts";

/**
 * Ids of project paths: from the CI's API where there is a credential, else from the first job of the path that came here. The
 * two must agree: a path that changed hands between is not to be pinned unseen.
 */
export function projectIds(
  issuers: readonly Pick<ConnectedIssuer, "name" | "projectId">[],
  table: Pick<SessionTable, "pin">,
): ProjectIdOf {
  return async (project) => {
    const [name = "", ...parts] = project.split("/");
    const path = parts.join("/");
    const issuer = issuers.find((one) => one.name === name);
    if (issuer === undefined) return { project, problem: `no issuer is called ${name} here` };
    const first = table.pin(name, path);
    const now = await askNow(issuer, path);
    if (now.id === undefined) {
      if (first === undefined) return { project, problem: now.problem ?? noCredential(name) };
      return { project, id: first, from: "first job", ...(now.problem === undefined ? {} : { problem: now.problem }) };
    }
    if (first === undefined || first === now.id) return { project, id: now.id, from: "api" };
    return { project, problem: `it was ${first} when its first job came here, and is ${now.id} now` };
  };
}

const noCredential = (issuer: string) => `${issuer} has no API credential, and no job of it has come yet`;

/** Nothing of both where there is no credential to ask with. */
async function askNow(
  { name, projectId }: Pick<ConnectedIssuer, "name" | "projectId">,
  path: string,
): Promise<{ readonly id?: string; readonly problem?: string }> {
  try {
    const id = await projectId?.(path);
    if (id !== undefined) return { id };
    return projectId === undefined ? {} : { problem: `${name} shows no project of this path to its credential` };
  } catch (error) {
    return { problem: error instanceof WayleaveError ? error.message : "its API could not be asked" };
  }
}
