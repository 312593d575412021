import type { AttributeValue, SelectorField } from "../../core/identity.ts";
import { type GithubClaims, shortRef } from "./claims.ts";

const string = { type: "string", arity: "one", anchors: false } as const;
const anchor = { type: "string", arity: "one", anchors: true } as const;

/** What a `github:` selector can name. */
export const githubFields = {
  repository: { ...anchor, doc: "owner/name" },
  repository_id: { ...anchor, doc: "numeric id, which outlives renames and transfers" },
  repository_owner: { ...anchor, doc: "name of the organization or user" },
  repository_owner_id: { ...anchor, doc: "its numeric id, which outlives renames" },
  repository_visibility: { ...string, doc: "public, private or internal" },
  ref: { ...string, doc: "branch, or with ref_type: tag the tag; of a pull request refs/pull/<number>/merge" },
  ref_type: { ...string, doc: "branch or tag" },
  ref_protected: { type: "boolean", arity: "one", anchors: false, doc: "the branch or tag is protected" },
  base_ref: { ...string, doc: "of a pull request: the branch it wants to be merged into" },
  head_ref: { ...string, doc: "of a pull request: its own branch, named by whoever opened it" },
  event_name: { ...string, doc: "what started the run: push, pull_request, schedule, workflow_dispatch, …" },
  environment: { ...string, doc: "environment of the job, as the workflow chose it; protect it in the repository" },
  workflow_ref: { ...string, doc: "file and ref of the workflow: owner/name/.github/workflows/ci.yml@refs/heads/main" },
  job_workflow_ref: { ...string, doc: "the same of the reusable workflow that holds the job, where there is one" },
  actor: { ...string, doc: "name of the person who triggered the run, which they can change" },
  actor_id: { ...string, doc: "their numeric id" },
  runner_environment: { ...string, doc: "github-hosted or self-hosted" },
  run_attempt: { ...string, doc: "1, and one more for each time the run was started again" },
  enterprise: { ...string, doc: "slug of the enterprise" },
  enterprise_id: { ...string, doc: "its numeric id" },
} as const satisfies Readonly<Record<string, SelectorField>>;

type Attributes = { readonly [Field in keyof typeof githubFields]: AttributeValue | null | undefined };

/** The selector attributes in a token's claims; what the token does not say is left out. */
export function githubAttributes(claims: GithubClaims): Readonly<Record<string, AttributeValue>> {
  const attributes: Attributes = {
    repository: claims.repository,
    repository_id: claims.repository_id,
    repository_owner: claims.repository_owner,
    repository_owner_id: claims.repository_owner_id,
    repository_visibility: claims.repository_visibility,
    ref: shortRef(claims),
    ref_type: claims.ref_type,
    ref_protected: claims.ref_protected == null ? undefined : claims.ref_protected === "true",
    base_ref: claims.base_ref,
    head_ref: claims.head_ref,
    event_name: claims.event_name,
    environment: claims.environment,
    workflow_ref: claims.workflow_ref,
    job_workflow_ref: claims.job_workflow_ref,
    actor: claims.actor,
    actor_id: claims.actor_id,
    runner_environment: claims.runner_environment,
    run_attempt: claims.run_attempt,
    enterprise: claims.enterprise,
    enterprise_id: claims.enterprise_id,
  };
  return Object.fromEntries(
    Object.entries(attributes).filter(
      (entry): entry is [string, AttributeValue] => entry[1] != null && entry[1] !== "",
    ),
  );
}
