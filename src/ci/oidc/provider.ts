import type { AttributeValue, JobIdentity, SelectorField } from "../../core/identity.ts";
import type { IssuerRef, Provider } from "../provider.ts";
import { type OidcClaims, readOidcClaims } from "./claims.ts";
import type { OidcConfig } from "./config.ts";

const string = { type: "string", arity: "one", anchors: false } as const;
const anchor = { type: "string", arity: "one", anchors: true } as const;

/** What an `oidc:` selector can name: of each field, the claim that the issuer's configuration maps to it. */
export const oidcFields = {
  project: { ...anchor, doc: "name or path of the project, or of the client that has no project" },
  project_id: { ...anchor, doc: "its id, where the CI has one" },
  group: { type: "string", arity: "any", anchors: true, doc: "what stands before each slash of the project's path" },
  organization: { ...anchor, doc: "organization or workspace the project is of" },
  ref: { ...string, doc: "branch, or with ref_type: tag the tag" },
  ref_type: { ...string, doc: "branch or tag" },
  environment: { ...string, doc: "environment of the job" },
  source: { ...string, doc: "what started the pipeline" },
  user_id: { ...string, doc: "id of the person who started it" },
  runner_environment: { ...string, doc: "kind of runner" },
  roles: { type: "string", arity: "any", anchors: false, doc: "roles that the issuer gave the caller" },
} as const satisfies Readonly<Record<string, SelectorField>>;

const secondsPer = { s: 1, m: 60, h: 3600 } as const;

/** Any issuer of OIDC tokens, read by the mapping in its configuration. */
export function oidcProvider(config: OidcConfig): Provider {
  return {
    type: "oidc",
    algorithms: config.algorithms ?? ["RS256"],
    maxTokenLifeSeconds: secondsOf(config.max_token_life ?? "1h"),
    renewable: config.renewable === true,
    fields: oidcFields,
    variables: {
      "job.project_id": "the project's id",
      "job.pipeline_id": "the pipeline's id",
      "job.id": "the project's id, a colon and the job's id",
      "environment.name": "name of the job's environment",
    },
    identity: (payload, issuer) => identity(readOidcClaims(payload, config), config, issuer),
  };
}

function secondsOf(duration: string): number {
  const unit = duration.at(-1) as keyof typeof secondsPer;
  return Number.parseInt(duration, 10) * secondsPer[unit];
}

function identity(claims: OidcClaims, config: OidcConfig, issuer: IssuerRef): JobIdentity {
  const { project, projectId, job, pipeline, ref, sha, text } = claims;
  const environment = text("environment");
  const user = text("user_id");
  const runner = text("runner_environment");
  return {
    issuer: issuer.name,
    issuerType: "oidc",
    kind: "job",
    project: { id: projectId, path: project },
    pipelineId: pipeline,
    job: { id: job },
    ...(ref === undefined ? {} : { ref: ref.name, refType: ref.type }),
    ...(sha === undefined ? {} : { sha }),
    ...(environment === undefined ? {} : { environment }),
    ...(user === undefined ? {} : { triggeredBy: { id: user } }),
    ...(runner === undefined ? {} : { runner: { environment: runner } }),
    fork: config.forks === "none" ? "no" : "unknown",
    attributes: attributes(claims),
    variables: {
      "job.project_id": projectId,
      "job.pipeline_id": pipeline,
      "job.id": job,
      ...(environment === undefined ? {} : { "environment.name": environment }),
    },
  };
}

type Attributes = { readonly [Field in keyof typeof oidcFields]: AttributeValue | undefined };

function attributes({ project, projectId, ref, roles, text }: OidcClaims): Readonly<Record<string, AttributeValue>> {
  const all: Attributes = {
    project,
    project_id: projectId,
    group: groupsAbove(project),
    organization: text("organization"),
    ref: ref?.name,
    ref_type: ref?.type,
    environment: text("environment"),
    source: text("source"),
    user_id: text("user_id"),
    runner_environment: text("runner_environment"),
    roles,
  };
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, AttributeValue] => entry[1] !== undefined),
  );
}

/** `a/b/project` lies in `a` and `a/b`; undefined for what is no such path, and for a project in no group. */
function groupsAbove(path: string): readonly string[] | undefined {
  if (!/^[\w.-]+(\/[\w.-]+)+$/.test(path)) return undefined;
  const parts = path.split("/");
  return parts.slice(0, -1).map((_, at) => parts.slice(0, at + 1).join("/"));
}
