import type { JobIdentity } from "../../core/identity.ts";
import { hostedRunnerFacts } from "../hosted-runner.ts";
import type { IssuerRef, Provider } from "../provider.ts";
import { gitlabApi } from "./api.ts";
import { gitlabAttributes, gitlabFields } from "./attributes.ts";
import { gitlabBuildStatus } from "./build-status.ts";
import { forkStatus, type GitlabClaims, readGitlabClaims } from "./claims.ts";
import { readGitlabHook } from "./hooks.ts";
import { environmentSlug, refSlug } from "./slug.ts";
import { gitlabStarter } from "./start-pipeline.ts";

const secondsOf31Days = 2_678_400;

/** GitLab, gitlab.com and self-managed. A job's token lives as long as the job may, which is at most a month. */
export const gitlab: Provider = {
  type: "gitlab",
  defaultIssuerUrl: "https://gitlab.com",
  algorithms: ["RS256"],
  maxTokenLifeSeconds: secondsOf31Days,
  renewable: false,
  fields: gitlabFields,
  variables: {
    "job.project_id": "id of the project whose code runs",
    "job.pipeline_id": "id of the pipeline",
    "job.id": "id of the job",
    "job.ref_slug": "branch or tag as CI_COMMIT_REF_SLUG has it",
    "environment.name": "name of the job's environment",
    "environment.slug": "the environment as CI_ENVIRONMENT_SLUG has it",
  },
  identity,
  claimFacts: hostedRunnerFacts("gitlab-hosted"),
  hooks: { read: readGitlabHook, buildStatus: gitlabBuildStatus },
  api: {
    url: (issuerUrl) => `${issuerUrl}/api/v4`,
    connect: gitlabApi,
    starter: ({ projects, token: _none, ...options }) => gitlabStarter({ ...options, triggerTokens: projects }),
  },
};

function identity(payload: Readonly<Record<string, unknown>>, issuer: IssuerRef): JobIdentity {
  const claims = readGitlabClaims(payload);
  return {
    issuer: issuer.name,
    issuerType: "gitlab",
    kind: "job",
    project: { id: claims.project_id, path: claims.project_path },
    pipelineId: claims.pipeline_id,
    job: { id: claims.job_id },
    ref: claims.ref,
    refType: claims.ref_type,
    ...(claims.sha == null ? {} : { sha: claims.sha }),
    ...(claims.environment == null ? {} : { environment: claims.environment }),
    triggeredBy: { id: claims.user_id, login: claims.user_login },
    ...runner(claims),
    fork: forkStatus(claims),
    attributes: gitlabAttributes(claims),
    variables: variables(claims),
  };
}

function runner({ runner_id: id, runner_environment: environment }: GitlabClaims): Pick<JobIdentity, "runner"> {
  if (id == null) return {};
  return { runner: { id: String(id), ...(environment == null ? {} : { environment }) } };
}

function variables(claims: GitlabClaims): Readonly<Record<string, string>> {
  const slug = refSlug(claims.ref);
  const { environment } = claims;
  return {
    "job.project_id": claims.project_id,
    "job.pipeline_id": claims.pipeline_id,
    "job.id": claims.job_id,
    ...(slug === "" ? {} : { "job.ref_slug": slug }),
    ...(environment == null
      ? {}
      : { "environment.name": environment, "environment.slug": environmentSlug(environment) }),
  };
}
