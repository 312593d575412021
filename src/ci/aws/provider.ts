import { z } from "zod";
import { WayleaveError } from "../../core/errors.ts";
import type { Provider } from "../provider.ts";
import { claimText, readClaims } from "../read-claims.ts";
import type { AwsConfig } from "./config.ts";
import { awsFields, awsIdentity, parsePrincipal } from "./principal.ts";

/** AWS's own claims stand in one object; `request_tags` is not read, because the caller chooses it. */
const namespace = "https://sts.amazonaws.com/";

const AwsClaims = z.object({
  sub: claimText,
  [namespace]: z.object({
    aws_account: z.string("must be a string").regex(/^\d{12}$/, "must be an account id"),
    org_id: claimText.nullish(),
    source_region: claimText.nullish(),
  }),
});

/**
 * AWS principals. Tokens of `sts:GetWebIdentityToken` are read here; a signed `GetCallerIdentity` is verified by
 * `verify-signed.ts` and gives the same identity. Either can be made again at any time.
 */
export function awsProvider(config: AwsConfig): Provider {
  return {
    type: "aws",
    algorithms: ["RS256", "ES384"],
    maxTokenLifeSeconds: 3600,
    renewable: true,
    fields: awsFields,
    variables: {
      "job.project_id": "the account's id and a digest of the principal",
      "job.pipeline_id": "name of the role's session, or the project's id",
      "job.id": "AWS's id of the caller, or the project's id",
    },
    identity(payload, issuer) {
      const { sub, [namespace]: aws } = readClaims(AwsClaims, payload);
      const principal = parsePrincipal(sub);
      if (principal.account !== aws.aws_account) {
        throw new WayleaveError("identity_refused", "The token's sub is of another account than its aws_account.");
      }
      const caller = {
        principal,
        ...(aws.org_id == null ? {} : { organization: aws.org_id }),
        ...(aws.source_region == null ? {} : { region: aws.source_region }),
      };
      return awsIdentity(caller, config, issuer);
    },
  };
}
