import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";

/** The job as the CI's own variables name it. Forgeable inside the job: used to find files and to print, never to trust. */
export interface CiJob {
  readonly ci: "gitlab" | "buildkite" | "other";
  /** The CI server and the job's id: two jobs never share it. */
  readonly key: string;
  /** Where the job's project is checked out; the session's handle must not be in it. */
  readonly projectFolder?: string;
}

/** The job this process runs in. Throws `invalid_request` where nothing tells one job from another. */
export function ciJob({ env }: Pick<CommandIo, "env">, subjectToken?: string): CiJob {
  if (env.CI_SERVER_URL && env.CI_JOB_ID) {
    return { ci: "gitlab", key: `${env.CI_SERVER_URL} ${env.CI_JOB_ID}`, ...folder(env.CI_PROJECT_DIR) };
  }
  if (env.BUILDKITE_JOB_ID) {
    const key = `buildkite ${env.BUILDKITE_ORGANIZATION_SLUG ?? ""} ${env.BUILDKITE_JOB_ID}`;
    return { ci: "buildkite", key, ...folder(env.BUILDKITE_BUILD_CHECKOUT_PATH) };
  }
  const claims = subjectToken === undefined ? undefined : jwtPayload(subjectToken);
  if (typeof claims?.iss === "string" && typeof claims.job_id === "string") {
    return { ci: "other", key: `${claims.iss} ${claims.job_id}` };
  }
  throw new WayleaveError(
    "invalid_request",
    "This does not look like a CI job: neither CI_JOB_ID nor BUILDKITE_JOB_ID is set. Run it inside a job.",
  );
}

const folder = (path: string | undefined) => (path === undefined || path === "" ? {} : { projectFolder: path });

/** The payload of a JWT, unverified; undefined where it is none. For choosing addresses, never for trust. */
export function jwtPayload(token: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // not JSON, so not a JWT
  }
}
