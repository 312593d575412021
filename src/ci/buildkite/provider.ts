import type { JobIdentity } from "../../core/identity.ts";
import { hostedRunnerFacts } from "../hosted-runner.ts";
import type { IssuerRef, Provider } from "../provider.ts";
import { commitSha } from "../read-claims.ts";
import { buildkiteApi } from "./api.ts";
import { buildkiteAttributes, buildkiteFields } from "./attributes.ts";
import { buildkiteBuildStatus } from "./build-status.ts";
import { readBuildkiteClaims } from "./claims.ts";
import { readBuildkiteHook } from "./hooks.ts";
import { buildkiteStarter } from "./start-build.ts";

/** Buildkite. A job may ask for a fresh token as often as it likes, of two hours at most. */
export const buildkite: Provider = {
  type: "buildkite",
  defaultIssuerUrl: "https://agent.buildkite.com",
  algorithms: ["RS256"],
  maxTokenLifeSeconds: 7200,
  renewable: true,
  fields: buildkiteFields,
  variables: {
    "job.project_id": "UUID of the pipeline",
    "job.pipeline_id": "number of the build",
    "job.id": "UUID of the job",
  },
  identity,
  claimFacts: hostedRunnerFacts("buildkite-hosted"),
  hooks: { read: readBuildkiteHook, buildStatus: buildkiteBuildStatus },
  api: {
    url: () => "https://api.buildkite.com/v2", // one for all organizations, and not below the issuer
    connect: buildkiteApi,
    starter: ({ baseUrl, token = "", fetch, timeoutMs, now }) =>
      buildkiteStarter({ baseUrl, token, fetch, timeoutMs, now }),
  },
};

/** Whether the build is of a fork's pull request is not in the token: unknown until the build was looked up. */
function identity(payload: Readonly<Record<string, unknown>>, issuer: IssuerRef): JobIdentity {
  const claims = readBuildkiteClaims(payload);
  const build = String(claims.build_number);
  const sha = commitSha.safeParse(claims.build_commit); // a build may be created for "HEAD"
  return {
    issuer: issuer.name,
    issuerType: "buildkite",
    kind: "job",
    project: { id: claims.pipeline_id, path: `${claims.organization_slug}/${claims.pipeline_slug}` },
    pipelineId: build,
    job: { id: claims.job_id },
    ref: claims.build_tag ?? claims.build_branch,
    refType: claims.build_tag === null ? "branch" : "tag",
    ...(sha.success ? { sha: sha.data } : {}),
    runner: { id: claims.agent_id, environment: claims.runner_environment },
    fork: "unknown",
    attributes: buildkiteAttributes(claims),
    variables: { "job.project_id": claims.pipeline_id, "job.pipeline_id": build, "job.id": claims.job_id },
  };
}
