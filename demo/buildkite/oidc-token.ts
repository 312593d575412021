import type { Job } from "./types.ts";

/** What `buildkite-agent oidc request-token` sends. */
export interface OidcRequest {
  /** Default `https://buildkite.com/<organization slug>`. */
  readonly audience?: string;
  /** Seconds; 0 or absent means 300, more than 7200 is refused. */
  readonly lifetime?: number;
  /** Optional claims to add, such as `organization_id` or `agent_tag:queue`. */
  readonly claims?: readonly string[];
  /** The claim whose value becomes `sub`. */
  readonly subject_claim?: string;
  readonly aws_session_tags?: readonly string[];
}

export const defaultLifetimeSeconds = 300;
export const maxLifetimeSeconds = 7200;

/** Claims that can be asked for besides `agent_tag:<name>`. */
const optionalClaims: readonly string[] = [
  "organization_id",
  "pipeline_id",
  "build_id",
  "cluster_id",
  "cluster_name",
  "queue_id",
  "queue_key",
];

const subjectClaims: readonly string[] = [
  "organization_id",
  "pipeline_id",
  "cluster_id",
  "queue_id",
  "build_id",
  "job_id",
  "agent_id",
];

/** Why a request gets 422, or undefined when it is fine. */
export function refusalOf(request: OidcRequest): string | undefined {
  if ((request.lifetime ?? 0) > maxLifetimeSeconds) return "Requested lifetime too high";
  const unknown = request.claims?.find((name) => !optionalClaims.includes(name) && !name.startsWith("agent_tag:"));
  if (unknown !== undefined) return `Unknown claim: ${unknown}`;
  const subject = request.subject_claim;
  return subject === undefined || subjectClaims.includes(subject) ? undefined : `Unknown subject claim: ${subject}`;
}

/** The claims of a job's OIDC token. `build_number` is a number, `build_tag` and `step_key` may be null, and ids of
 *  organization, pipeline and build are there only when asked for. `iatSeconds` is also `nbf`. */
export function oidcClaims(
  job: Job,
  request: OidcRequest,
  minting: { readonly issuer: string; readonly iatSeconds: number; readonly jti: string },
): Record<string, unknown> {
  const { build, agent } = job;
  const { pipeline } = build;
  const extra = extraClaims(job);
  const asked = (request.claims ?? []).filter((name) => extra[name] !== undefined);
  const ref = build.tag === null ? `refs/heads/${build.branch}` : `refs/tags/${build.tag}`;
  const organization = pipeline.organization.slug;
  const longSubject = `organization:${organization}:pipeline:${pipeline.slug}:ref:${ref}:commit:${build.commit}:step:${job.stepKey ?? ""}`;
  const tags = (request.aws_session_tags ?? []).filter((name) => extra[name] !== undefined);
  return {
    iss: minting.issuer,
    sub: request.subject_claim === undefined ? longSubject : (extra[request.subject_claim] ?? longSubject),
    aud: request.audience || `https://buildkite.com/${organization}`,
    iat: minting.iatSeconds,
    nbf: minting.iatSeconds,
    exp: minting.iatSeconds + (request.lifetime || defaultLifetimeSeconds),
    jti: minting.jti,
    organization_slug: organization,
    pipeline_slug: pipeline.slug,
    build_number: build.number,
    build_branch: build.branch,
    build_tag: build.tag,
    build_commit: build.commit,
    step_key: job.stepKey,
    job_id: job.id,
    agent_id: agent.id,
    build_source: build.source,
    runner_environment: agent.hosted ? "buildkite-hosted" : "self-hosted",
    ...Object.fromEntries(asked.map((name) => [name, extra[name]])),
    ...(tags.length > 0
      ? {
          "https://aws.amazon.com/tags": {
            principal_tags: Object.fromEntries(tags.map((name) => [name, [extra[name]]])),
          },
        }
      : {}),
  };
}

/** Every value that can be asked for by name; undefined for what an unclustered pipeline has not. */
function extraClaims(job: Job): Readonly<Record<string, string | undefined>> {
  const { build, agent } = job;
  const { pipeline } = build;
  return {
    organization_slug: pipeline.organization.slug,
    organization_id: pipeline.organization.id,
    pipeline_slug: pipeline.slug,
    pipeline_id: pipeline.id,
    build_id: build.id,
    build_branch: build.branch,
    job_id: job.id,
    agent_id: agent.id,
    cluster_id: pipeline.cluster?.id,
    cluster_name: pipeline.cluster?.name,
    queue_id: pipeline.queue?.id,
    queue_key: pipeline.queue?.key,
    ...Object.fromEntries(Object.entries(agent.tags).map(([name, value]) => [`agent_tag:${name}`, value])),
  };
}
