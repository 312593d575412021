import type { IssuerType, SelectorField, Vocabulary } from "../core/identity.ts";
import { buildkite } from "./buildkite/provider.ts";
import { gitlab } from "./gitlab/provider.ts";
import type { Provider } from "./provider.ts";

const provenFields = {
  runner_spiffe_id: {
    type: "string",
    arity: "one",
    anchors: false,
    doc: "SPIFFE ID that the runner proved by its own SVID when the job's token was exchanged",
  },
} as const satisfies Readonly<Record<string, SelectorField>>;

/** Every CI Wayleave knows. Adding one is a folder and a line here. */
export const providers: Readonly<Record<IssuerType, Provider>> = { gitlab, buildkite };

/** Selector fields by issuer type, for the policy checker: those of the CI's claims, and what the exchange itself proves. */
export const vocabulary: Vocabulary = {
  gitlab: { ...gitlab.fields, ...provenFields },
  buildkite: { ...buildkite.fields, ...provenFields },
};
