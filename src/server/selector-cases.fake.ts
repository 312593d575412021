import { stepJob } from "../ci/buildkite/claims.fake.ts";
import { pushJob } from "../ci/github/claims.fake.ts";
import { branchJob } from "../ci/gitlab/claims.fake.ts";
import type { WrittenSelector } from "../ci/situations.ts";
import type { IssuerType } from "../core/identity.ts";

/** Claims that a job has otherwise than the issuer's usual one; `undefined` takes one away. */
export type Changes = Readonly<Record<string, unknown>>;

/** What a selector matches and what it does not: more of the latter. */
export interface SelectorCase {
  /** The usual job with these changes matches. Default: the usual job. */
  readonly matches?: Changes;
  readonly refuses: readonly [Changes, Changes, ...Changes[]];
}

export interface FieldCase extends SelectorCase {
  readonly value: string | boolean;
}

export const usual: Readonly<Record<IssuerType, Changes>> = {
  gitlab: branchJob,
  buildkite: stepJob,
  github: pushJob,
  oidc: {
    jti: "j-1",
    name: "acme/shop",
    id: "7",
    org: "acme-org",
    branch: "refs/heads/main",
    env: "production",
    why: "push",
    who: "u-1",
    machine: "hosted",
    roles: ["ci", "deploy"],
  },
  aws: {
    sub: "arn:aws:iam::111122223333:role/ci/shop-ci",
    "https://sts.amazonaws.com/": { aws_account: "111122223333", org_id: "o-1", source_region: "eu-central-1" },
  },
};

/** What names the usual job's project, for the rows whose field does not. */
export const anchors: Readonly<Record<IssuerType, WrittenSelector>> = {
  gitlab: { project: "acme/web/shop" },
  buildkite: { organization: "acme" },
  github: { repository: "acme/shop" },
  oidc: { project: "acme/shop" },
  aws: { account: "111122223333" },
};

/** Takes a claim away. */
export const gone = undefined;
export const uuid = (n: number) => `0191a000-0000-4000-8000-00000000000${n}`;
const namespace = "https://sts.amazonaws.com/";
/** The usual AWS claims with some of their members otherwise. */
export const awsSays = (more: Changes) => ({
  [namespace]: { ...(usual.aws[namespace] as object), ...more },
});
