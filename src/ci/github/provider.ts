import type { JobIdentity } from "../../core/identity.ts";
import { hostedRunnerFacts } from "../hosted-runner.ts";
import type { IssuerRef, Provider } from "../provider.ts";
import { githubApi } from "./api.ts";
import { githubAttributes, githubFields } from "./attributes.ts";
import { forkStatus, type GithubClaims, readGithubClaims, shortRef } from "./claims.ts";
import { readGithubHook } from "./hooks.ts";

const secondsOf5Days = 432_000;

/**
 * GitHub Actions: github.com, data residency on ghe.com and Enterprise Server. A job may ask for a fresh token as often as it
 * likes; a token lives as long as the job may, which on a self-hosted runner is five days.
 */
export const github: Provider = {
  type: "github",
  defaultIssuerUrl: "https://token.actions.githubusercontent.com",
  algorithms: ["RS256"],
  maxTokenLifeSeconds: secondsOf5Days,
  renewable: true,
  fields: githubFields,
  variables: {
    "job.project_id": "id of the repository",
    "job.pipeline_id": "id of the run",
    "job.id": "id of the job's check run, or run.attempt where the token has none",
    "environment.name": "name of the job's environment",
  },
  identity,
  claimFacts: hostedRunnerFacts("github-hosted"),
  hooks: { read: readGithubHook, buildStatus: () => undefined },
  api: { url: apiUrl, connect: githubApi },
};

/** Enterprise Server signs as `https://host/_services/token`; ghe.com as `https://token.actions.sub.ghe.com`. */
function apiUrl(issuerUrl: string): string {
  const { host, origin } = new URL(issuerUrl);
  if (host === "token.actions.githubusercontent.com") return "https://api.github.com";
  const residency = /^token\.actions\.([a-z0-9-]+\.ghe\.com)$/.exec(host)?.[1];
  return residency === undefined ? `${origin}/api/v3` : `https://api.${residency}`;
}

function identity(payload: Readonly<Record<string, unknown>>, issuer: IssuerRef): JobIdentity {
  const claims = readGithubClaims(payload);
  const job = jobOf(claims);
  return {
    issuer: issuer.name,
    issuerType: "github",
    kind: "job",
    project: { id: claims.repository_id, path: claims.repository },
    pipelineId: claims.run_id,
    job,
    ref: shortRef(claims),
    refType: claims.ref_type,
    sha: claims.sha,
    ...(claims.environment ? { environment: claims.environment } : {}),
    triggeredBy: { id: claims.actor_id, login: claims.actor },
    runner: { environment: claims.runner_environment },
    fork: forkStatus(claims),
    attributes: githubAttributes(claims),
    variables: {
      "job.project_id": claims.repository_id,
      "job.pipeline_id": claims.run_id,
      "job.id": job.id,
      ...(claims.environment ? { "environment.name": claims.environment } : {}),
    },
  };
}

/** Older Enterprise Servers name only the run and its attempt, which all its jobs share. */
function jobOf({ check_run_id: checkRun, run_id: run, run_attempt: attempt }: GithubClaims): JobIdentity["job"] {
  return checkRun == null ? { id: `${run}.${attempt}`, ofRun: true } : { id: checkRun };
}
