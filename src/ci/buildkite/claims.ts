import { z } from "zod";
import { WayleaveError } from "../../core/errors.ts";
import { claimText, readClaims } from "../read-claims.ts";

export const uuid = z
  .string("must be a UUID")
  .regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, "must be a UUID in lower case");

const slug = z
  .string("must be a string")
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/, "must be a slug of letters, digits, -, _ and .");

/**
 * The claims of a job's OIDC token that carry trust, by their true types: `build_number` is a number, `build_tag` and
 * `step_key` may be null. `agent_tag:*` is not here, because whoever starts an agent chooses its tags, and `sub` is not,
 * because the job chooses its form.
 */
const BuildkiteClaims = z.object({
  organization_slug: slug,
  organization_id: uuid,
  pipeline_slug: slug,
  pipeline_id: uuid,
  build_number: z.int("must be a number").positive("must be positive"),
  build_id: uuid.nullish(),
  build_branch: claimText,
  build_tag: claimText.nullable(),
  build_commit: claimText,
  build_source: claimText,
  step_key: claimText.nullable(),
  job_id: uuid,
  agent_id: uuid,
  runner_environment: claimText,
  cluster_id: uuid.nullish(),
  cluster_name: claimText.nullish(),
  queue_id: uuid.nullish(),
  queue_key: claimText.nullish(),
});

export type BuildkiteClaims = z.infer<typeof BuildkiteClaims>;

/**
 * The claims of a verified payload. Throws `identity_refused` for a claim that is missing or of another type. The ids
 * of organization and pipeline are required, because slugs can be renamed and taken by others.
 */
export function readBuildkiteClaims(payload: Readonly<Record<string, unknown>>): BuildkiteClaims {
  const missing = ["organization_id", "pipeline_id"].filter((claim) => payload[claim] === undefined);
  if (missing.length > 0) {
    throw new WayleaveError(
      "identity_refused",
      `The token has no ${missing.join(" and no ")}: Buildkite gives these only when asked. ` +
        "Request it with --claim organization_id,pipeline_id,build_id.",
    );
  }
  return readClaims(BuildkiteClaims, payload);
}
