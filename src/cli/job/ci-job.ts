import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";

/** The job as the CI's own variables name it. Forgeable inside the job: used to find files and to print, never to trust. */
export interface CiJob {
  readonly ci: "gitlab" | "buildkite" | "github" | "other";
  /** The CI server and the job's id: two jobs never share it. */
  readonly key: string;
  /** Where the job's project is checked out; the session's handle must not be in it. */
  readonly projectFolder?: string;
}

interface Ci {
  readonly ci: CiJob["ci"];
  /** Variables that name the job together; all of them are set in a job of this CI. */
  readonly names: readonly string[];
  readonly checkout: string;
}

/** In this order: a CI whose job starts another CI's tools is the one nearest to the command. */
const cis: readonly Ci[] = [
  { ci: "gitlab", names: ["CI_SERVER_URL", "CI_JOB_ID"], checkout: "CI_PROJECT_DIR" },
  { ci: "buildkite", names: ["BUILDKITE_JOB_ID"], checkout: "BUILDKITE_BUILD_CHECKOUT_PATH" },
  {
    ci: "github",
    // The jobs of a matrix share everything but the runner, which runs one at a time.
    names: [
      "GITHUB_SERVER_URL",
      "GITHUB_REPOSITORY",
      "GITHUB_RUN_ID",
      "GITHUB_RUN_ATTEMPT",
      "GITHUB_JOB",
      "RUNNER_NAME",
    ],
    checkout: "GITHUB_WORKSPACE",
  },
  { ci: "other", names: ["CIRCLE_WORKFLOW_JOB_ID"], checkout: "CIRCLE_WORKING_DIRECTORY" },
  { ci: "other", names: ["BITBUCKET_PIPELINE_UUID", "BITBUCKET_STEP_UUID"], checkout: "BITBUCKET_CLONE_DIR" },
  { ci: "other", names: ["CODEBUILD_BUILD_ID"], checkout: "CODEBUILD_SRC_DIR" },
  { ci: "other", names: ["JENKINS_URL", "BUILD_TAG"], checkout: "WORKSPACE" },
];

/** True where the CI's own variables name the job. */
export function isCiJob({ env }: Pick<CommandIo, "env">): boolean {
  return cis.some(({ names }) => names.every((name) => env[name]));
}

/** The job this process runs in. Throws `invalid_request` where nothing tells one job from another. */
export function ciJob({ env }: Pick<CommandIo, "env">, subjectToken?: string): CiJob {
  const found = cis.find(({ names }) => names.every((name) => env[name]));
  if (found !== undefined) return { ci: found.ci, key: keyOf(found, env), ...folder(env[found.checkout]) };
  const claims = subjectToken === undefined ? undefined : jwtPayload(subjectToken);
  const id = claims?.job_id ?? claims?.check_run_id ?? claims?.jti;
  if (typeof claims?.iss === "string" && typeof id === "string") return { ci: "other", key: `${claims.iss} ${id}` };
  throw new WayleaveError(
    "invalid_request",
    "This does not look like a CI job: none of the variables is set by which CIs name their jobs, and no token names one. Run it inside a job.",
  );
}

/** As it always was, so that a session opened by an older version is found. */
function keyOf({ ci, names }: Ci, env: CommandIo["env"]): string {
  const values = names.map((name) => env[name] ?? "").join(" ");
  if (ci === "buildkite") return `buildkite ${env.BUILDKITE_ORGANIZATION_SLUG ?? ""} ${values}`;
  return ci === "gitlab" ? values : `${names[0]} ${values}`;
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
