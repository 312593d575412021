import type { TokenResponse } from "../../api/contract.ts";
import type { CommandIo } from "../command-io.ts";
import { printable } from "../terminal.ts";
import { jwtPayload } from "./ci-job.ts";

/** The one stable line of a session in a job's log. The job is named as the broker verified it. */
export function openedLine(io: Pick<CommandIo, "env">, token: TokenResponse, opened: boolean): string {
  const job = (jwtPayload(token.access_token)?.job ?? {}) as Readonly<Record<string, string | undefined>>;
  const name = job.name ?? io.env.CI_JOB_NAME ?? io.env.BUILDKITE_LABEL ?? "job";
  const until = `${token.session_expires_at.slice(11, 16)}Z`;
  const roles = token.scope.split(" ").join(", ");
  const who = `${job.project_path ?? "?"} ${name} #${job.job_id ?? "?"}`;
  return printable(
    `wayleave: session ${token.session_id} ${opened ? "opened" : "joined"}  ${who}  roles ${roles}  until ${until}`,
  );
}
