type Loose = Readonly<Record<string, unknown>>;

/** A key that does not fit the issuer's type; without `key`, one that is missing. */
export interface TypeProblem {
  readonly code: string;
  readonly key?: string;
  readonly message: string;
  readonly help: string;
}

/** Keys of an issuer that only some types have. */
const keyTypes: Readonly<Record<string, readonly string[]>> = {
  api: ["gitlab", "buildkite", "github"],
  start: ["gitlab", "buildkite"],
  webhooks: ["gitlab", "buildkite", "github"],
  edition: ["gitlab"],
  oidc: ["oidc"],
  aws: ["aws"],
};

/** What an issuer's type asks of its other keys. */
export function typeProblems(issuer: Loose): readonly TypeProblem[] {
  const { type } = issuer;
  if (typeof type !== "string") return [];
  return [...misplaced(issuer, type), ...missing(issuer, type)];
}

function misplaced(issuer: Loose, type: string): readonly TypeProblem[] {
  return Object.entries(keyTypes).flatMap(([key, types]) => {
    if (issuer[key] === undefined || types.includes(type)) return [];
    const help = `leave it out; it is of ${types.join(", ")}`;
    return [{ code: "issuer_key_misplaced", key, message: `is of type ${type}, which has no \`${key}\``, help }];
  });
}

function missing(issuer: Loose, type: string): readonly TypeProblem[] {
  const lacks = (message: string, help: string): TypeProblem => ({ code: "missing_key", message, help });
  if (type === "oidc" && issuer.url === undefined) return [lacks("has no url", "add the exact `iss` of its tokens")];
  if (type === "oidc" && issuer.oidc === undefined) {
    return [lacks("does not say what its claims mean", "add `oidc: { claims: { project: <claim> } }`")];
  }
  if (type !== "aws") return [];
  if (issuer.aws === undefined) return [lacks("names no accounts", 'add `aws: { accounts: ["111122223333"] }`')];
  const sts = typeof issuer.aws === "object" && issuer.aws !== null && "sts" in issuer.aws;
  if (issuer.url !== undefined || sts) return [];
  return [lacks("takes nothing", "add `url`, the account's token issuer, or `aws.sts` for signed requests")];
}
