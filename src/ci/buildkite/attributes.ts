import type { AttributeValue, SelectorField } from "../../core/identity.ts";
import type { BuildkiteClaims } from "./claims.ts";

const string = { type: "string", arity: "one", anchors: false } as const;
const anchor = { type: "string", arity: "one", anchors: true } as const;

/**
 * What a `buildkite:` selector can name. A pipeline's slug anchors nothing by itself: all of Buildkite is one issuer,
 * and anybody's organization may have a pipeline of that name.
 */
export const buildkiteFields = {
  organization: { ...anchor, doc: "slug of the organization" },
  organization_id: { ...anchor, doc: "UUID of the organization, which outlives renames" },
  pipeline: { ...string, doc: "slug of the pipeline; name the organization beside it" },
  pipeline_id: { ...anchor, doc: "UUID of the pipeline, which outlives renames" },
  ref: { ...string, doc: "branch, or with ref_type: tag the tag; whoever may create builds can name any" },
  ref_type: { ...string, doc: "branch or tag" },
  source: { ...string, doc: "what created the build: ui, api, webhook, trigger_job or schedule" },
  step: { ...string, doc: "key of the step, as chosen in the pipeline's YAML" },
  runner_environment: { ...string, doc: "buildkite-hosted or self-hosted" },
  cluster: { ...string, doc: "name of the agent cluster (claim cluster_name, when asked for)" },
  cluster_id: { ...string, doc: "UUID of the agent cluster (when asked for)" },
  queue: { ...string, doc: "key of the agent queue (claim queue_key, when asked for)" },
  queue_id: { ...string, doc: "UUID of the agent queue (when asked for)" },
} as const satisfies Readonly<Record<string, SelectorField>>;

type Attributes = { readonly [Field in keyof typeof buildkiteFields]: AttributeValue | null | undefined };

/** The selector attributes in a token's claims; what the token does not say is left out. */
export function buildkiteAttributes(claims: BuildkiteClaims): Readonly<Record<string, AttributeValue>> {
  const attributes: Attributes = {
    organization: claims.organization_slug,
    organization_id: claims.organization_id,
    pipeline: claims.pipeline_slug,
    pipeline_id: claims.pipeline_id,
    ref: claims.build_tag ?? claims.build_branch,
    ref_type: claims.build_tag === null ? "branch" : "tag",
    source: claims.build_source,
    step: claims.step_key,
    runner_environment: claims.runner_environment,
    cluster: claims.cluster_name,
    cluster_id: claims.cluster_id,
    queue: claims.queue_key,
    queue_id: claims.queue_id,
  };
  return Object.fromEntries(
    Object.entries(attributes).filter((entry): entry is [string, AttributeValue] => entry[1] != null),
  );
}
