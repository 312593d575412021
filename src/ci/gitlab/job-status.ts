/** Statuses a GitLab job never leaves. `canceling` still runs after_script; `manual` and `scheduled` only wait. */
const terminal: ReadonlySet<string> = new Set(["success", "failed", "canceled", "skipped"]);

/** True where a GitLab job's status can never change again; a retry is a new job. */
export function isTerminal(status: string): boolean {
  return terminal.has(status);
}
