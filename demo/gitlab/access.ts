import { randomBytes } from "node:crypto";
import type { Answer, Request } from "./listener.ts";
import { isOver } from "./pipelines.ts";
import type { AccessLevel, Job, Pipeline, Project, User, World } from "./types.ts";

export interface AccessTokenOptions {
  /** Default `["read_api"]`. */
  readonly scopes?: readonly string[];
  /** The projects the token's owner may see; all of them when absent. */
  readonly projects?: readonly Project[];
  /** Whose token it is. A Maintainer's of all its projects when absent. */
  readonly user?: User;
}

/** Who calls the REST API, as far as it matters here. */
export interface Caller {
  sees(project: Project): boolean;
  /** Maintainers and whoever started the pipeline may. */
  readsVariables(pipeline: Pipeline): boolean;
}

export interface AccessTokens {
  /** A new personal, project or group access token (`glpat-…`). */
  create(options?: AccessTokenOptions): string;
  revoke(token: string): void;
  /** The caller, or the answer that refuses: 401 without a known token, 403 without the scope. */
  authenticate(request: Request): Caller | Answer;
}

/** Keeps the access tokens of an instance. They are checked as `PRIVATE-TOKEN` or `Authorization: Bearer`. */
export function createAccessTokens(): AccessTokens {
  const tokens = new Map<string, AccessTokenOptions>();
  return {
    create: (options = {}) => {
      const token = `glpat-${randomBytes(15).toString("base64url")}`;
      tokens.set(token, options);
      return token;
    },
    revoke: (token) => {
      tokens.delete(token);
    },
    authenticate: (request) => {
      const options = tokens.get(request.headers["private-token"] ?? bearer(request) ?? "");
      if (!options) return unauthorized;
      if (!(options.scopes ?? ["read_api"]).some((scope) => scope === "read_api" || scope === "api")) return badScope;
      const { user } = options;
      return {
        sees: (project) => options.projects?.includes(project) ?? true,
        readsVariables: ({ project, user: starter }) =>
          user === undefined || user === starter || maintains(project.members.get(user.id)),
      };
    },
  };
}

function maintains(level: AccessLevel | undefined): boolean {
  return level === "maintainer" || level === "owner";
}

/** The job a `CI_JOB_TOKEN` belongs to, while it is handed out and not over; `canceling` still counts. */
export function jobOfToken(world: World, request: Request): Job | undefined {
  const token = request.headers["job-token"] ?? bearer(request) ?? request.query.get("job_token");
  const job = [...world.jobs.values()].find((candidate) => candidate.token === token);
  return job && job.startedAt !== undefined && !isOver(job) ? job : undefined;
}

/** What GitLab answers to a token it does not know. */
export const unauthorized: Answer = { status: 401, body: { message: "401 Unauthorized" } };

const badScope: Answer = {
  status: 403,
  body: {
    error: "insufficient_scope",
    error_description: "The request requires higher privileges than provided by the access token.",
    scope: "api read_api",
  },
};

function bearer(request: Request): string | undefined {
  return /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
}
