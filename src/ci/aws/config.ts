import { z } from "zod";

/** The part of `wayleave.yaml` that says which AWS principals an issuer of type `aws` stands for. */
export const Aws = z.strictObject({
  accounts: z
    .array(z.string().regex(/^\d{12}$/, "must be an account id of 12 digits, in quotes"))
    .min(1)
    .describe("Ids of the accounts whose principals may come; everybody has an AWS account, so there is no default."),
  sts: z
    .array(
      z
        .string()
        .regex(
          /^(https:\/\/[a-z0-9.-]+|http:\/\/(127\.0\.0\.1|localhost))(:\d{1,5})?$/,
          "must be an address such as https://sts.eu-central-1.amazonaws.com",
        ),
    )
    .min(1)
    .describe(
      "Regional addresses of STS that a signed GetCallerIdentity may be forwarded to. Default: none, so that only tokens of `url` are taken.",
    )
    .optional(),
  forks: z
    .enum(["none", "unknown"])
    .describe(
      "`none` where no fork's code runs under these principals; `unknown` matches only selectors that say `fork: true`. Default: unknown.",
    )
    .optional(),
});

export type AwsConfig = z.infer<typeof Aws>;
