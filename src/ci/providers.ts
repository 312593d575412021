import type { IssuerType, SelectorField, Vocabulary } from "../core/identity.ts";
import type { AwsConfig } from "./aws/config.ts";
import { awsFields } from "./aws/principal.ts";
import { awsProvider } from "./aws/provider.ts";
import { buildkiteFields } from "./buildkite/attributes.ts";
import { buildkite } from "./buildkite/provider.ts";
import { githubFields } from "./github/attributes.ts";
import { github } from "./github/provider.ts";
import { gitlabFields } from "./gitlab/attributes.ts";
import { gitlab } from "./gitlab/provider.ts";
import type { OidcConfig } from "./oidc/config.ts";
import { oidcFields, oidcProvider } from "./oidc/provider.ts";
import type { Provider } from "./provider.ts";

/** What the exchange itself proves, whichever CI it is. */
const provenFields = {
  runner: {
    type: "string",
    arity: "one",
    anchors: false,
    doc: "SPIFFE ID that the runner proved by its own SVID when the job's token was exchanged",
  },
} as const satisfies Readonly<Record<string, SelectorField>>;

/** One issuer's type, and what its configuration says of its tokens where the type alone does not. */
export interface ProviderSettings {
  readonly type: IssuerType;
  readonly oidc?: OidcConfig;
  readonly aws?: AwsConfig;
}

/** Every CI Wayleave knows. Adding one is a folder, a line here and a line in `vocabulary`. */
const makers: Readonly<Record<IssuerType, (settings: ProviderSettings) => Provider | undefined>> = {
  gitlab: () => gitlab,
  buildkite: () => buildkite,
  github: () => github,
  oidc: ({ oidc }) => (oidc === undefined ? undefined : oidcProvider(oidc)),
  aws: ({ aws }) => (aws === undefined ? undefined : awsProvider(aws)),
};

/** The provider of a configured issuer; undefined where its own part of the configuration is missing. */
export function providerOf(settings: ProviderSettings): Provider | undefined {
  return makers[settings.type](settings);
}

/** Selector fields by issuer type, for the policy checker: those of the CI's claims, and what the exchange itself proves. */
export const vocabulary = {
  gitlab: { ...gitlabFields, ...provenFields },
  buildkite: { ...buildkiteFields, ...provenFields },
  github: { ...githubFields, ...provenFields },
  oidc: { ...oidcFields, ...provenFields },
  aws: { ...awsFields, ...provenFields },
} as const satisfies Required<Vocabulary>;
