import { z } from "zod";
import { WayleaveError } from "../../core/errors.ts";
import type { ForkStatus } from "../../core/identity.ts";
import { claimText, commitSha, readClaims } from "../read-claims.ts";

/** GitHub sends every id as a JSON string. */
const id = z.string("must be a string of digits").regex(/^[1-9]\d{0,19}$/, "must be a string of digits");

/** A claim that is the empty string where it says nothing. */
const orEmpty = z.union([z.literal(""), claimText]).nullish();

const repository = z
  .string("must be a string")
  .regex(/^[A-Za-z0-9_-]{1,100}\/[A-Za-z0-9_.-]{1,100}$/, "must be owner/name")
  .refine((path) => !/\/\.{1,2}$/.test(path), "must have no dot segment");

/**
 * The claims of a job's id token that carry trust, by their true types: ids are strings, as is `ref_protected`. `sub` is
 * not here, because organizations choose its parts, nor are `repo_property_*`.
 */
const GithubClaims = z.object({
  repository,
  repository_id: id,
  repository_owner: claimText,
  repository_owner_id: id,
  repository_visibility: z.enum(["public", "private", "internal"], "must be public, private or internal"),
  ref: claimText,
  ref_type: z.enum(["branch", "tag"], 'must be "branch" or "tag"'),
  ref_protected: z.enum(["true", "false"], 'must be the string "true" or "false"').nullish(),
  base_ref: orEmpty,
  head_ref: orEmpty,
  sha: commitSha,
  event_name: claimText,
  run_id: id,
  run_attempt: id,
  check_run_id: id.nullish(),
  workflow_ref: claimText,
  job_workflow_ref: claimText.nullish(),
  environment: orEmpty,
  actor: claimText,
  actor_id: id,
  runner_environment: z.enum(["github-hosted", "self-hosted"], "must be github-hosted or self-hosted"),
  enterprise: orEmpty,
  enterprise_id: id.nullish(),
});

export type GithubClaims = z.infer<typeof GithubClaims>;

/**
 * The claims of a verified payload. Throws `identity_refused` for a claim that is missing or of another type, and where
 * two claims contradict each other.
 */
export function readGithubClaims(payload: Readonly<Record<string, unknown>>): GithubClaims {
  const claims = readClaims(GithubClaims, payload);
  if (claims.repository.split("/")[0] === claims.repository_owner) return claims;
  throw new WayleaveError(
    "identity_refused",
    "The token's repository is not of its repository_owner; only an unchanged token of the CI is taken.",
  );
}

/**
 * The branch or tag without `refs/heads/` or `refs/tags/`; a pull request's `refs/pull/…` stays as it is, so that no branch
 * is taken for it. Throws `identity_refused` for a ref that is neither, or that only looks like a pull request's.
 */
export function shortRef({ ref, ref_type: type }: Pick<GithubClaims, "ref" | "ref_type">): string {
  if (type === "branch" && /^refs\/pull\/\d+\/(merge|head)$/.test(ref)) return ref;
  const prefix = type === "branch" ? "refs/heads/" : "refs/tags/";
  const short = ref.startsWith(prefix) ? ref.slice(prefix.length) : "";
  if (short !== "" && !short.startsWith("refs/")) return short;
  throw new WayleaveError(
    "identity_refused",
    `The token's ref is not below ${prefix}, or its own name starts with refs/; rename that branch or tag.`,
  );
}

/** Events that run the repository's own code, by people who may write to it. */
const ownCode: ReadonlySet<string> = new Set([
  "create",
  "delete",
  "deployment",
  "merge_group",
  "page_build",
  "push",
  "registry_package",
  "release",
  "repository_dispatch",
  "schedule",
  "workflow_dispatch",
]);

/**
 * Whether the job runs a fork's code. No claim says so. `pull_request` of a public repository gives forks no token; in a
 * private one a setting can, so there it is unknown. Unknown too is every event that hands the repository's own rights to
 * what somebody else wrote: `pull_request_target`, `workflow_run`, `issue_comment`, and those nobody knows yet.
 */
export function forkStatus({ event_name: event, ref, repository_visibility: visibility }: GithubClaims): ForkStatus {
  if (event === "pull_request") return visibility === "public" ? "no" : "unknown";
  return ownCode.has(event) && !ref.startsWith("refs/pull/") ? "no" : "unknown";
}
