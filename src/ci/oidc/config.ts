import { z } from "zod";

/** Algorithms a generic issuer may sign with; symmetric ones are not among them. */
const algorithms = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384"] as const;

const claim = (text: string) =>
  z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1).max(5)])
    .describe(`Claim that holds ${text}. A list leads into an object: [outer, inner].`);

const scalar = z.union([z.string(), z.number(), z.boolean()]);

/** The part of `wayleave.yaml` that says what the tokens of an issuer of type `oidc` mean. */
export const Oidc = z.strictObject({
  claims: z
    .strictObject({
      project: claim("the project's name or path: what `project:` in policy is compared with"),
      project_id: claim("the project's id, which outlives renames. Default: made from the name").optional(),
      organization: claim("the organization the project is of. Default: none").optional(),
      job: claim(
        "the id of the job, unique within its project. Default: `jti`, so that each token is a job",
      ).optional(),
      pipeline: claim("the id of the pipeline. Default: the job's").optional(),
      ref: claim("the branch or tag, with or without refs/heads/ or refs/tags/. Default: none").optional(),
      ref_type: claim("the word branch or tag. Default: as `ref` says, else branch").optional(),
      sha: claim("the commit. Default: none").optional(),
      environment: claim("the job's environment. Default: none").optional(),
      source: claim("what started the pipeline. Default: none").optional(),
      user_id: claim("the id of the person who started it. Default: none").optional(),
      runner_environment: claim("the kind of runner. Default: none").optional(),
      roles: claim("a list of roles that the issuer gave the caller. Default: none").optional(),
    })
    .describe("Which claim says what. A mapped claim that a token does not have is missing, never a wildcard."),
  require: z
    .record(z.string().min(1), z.union([scalar, z.array(scalar).min(1)]))
    .describe("Claims that must be there with this value, or one of these. Default: none.")
    .optional(),
  refuse: z
    .array(z.string().min(1))
    .describe("Claims that must not be there, such as those only a person's token has. Default: none.")
    .optional(),
  forks: z
    .enum(["none", "unknown"])
    .describe(
      "`none` where this CI gives no token to a fork's code; `unknown` matches only selectors that say `fork: true`. Default: unknown.",
    )
    .optional(),
  algorithms: z.array(z.enum(algorithms)).min(1).describe("Algorithms it signs with. Default: [RS256].").optional(),
  max_token_life: z
    .string()
    .regex(/^[1-9]\d{0,4}[smh]$/, "must be a duration such as 10m or 1h")
    .describe("Longest life a token may claim. Duration (`90s`, `5m`, `6h`). Default: 1h.")
    .optional(),
  renewable: z
    .boolean()
    .describe("True where a running job can ask for a fresh token of the same job. Default: false.")
    .optional(),
});

export type OidcConfig = z.infer<typeof Oidc>;
