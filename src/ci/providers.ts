import type { IssuerType, Vocabulary } from "../core/identity.ts";
import { buildkite } from "./buildkite/provider.ts";
import { gitlab } from "./gitlab/provider.ts";
import type { Provider } from "./provider.ts";

/** Every CI Wayleave knows. Adding one is a folder and a line here. */
export const providers: Readonly<Record<IssuerType, Provider>> = { gitlab, buildkite };

/** Selector fields by issuer type, for the policy checker. */
export const vocabulary: Vocabulary = { gitlab: gitlab.fields, buildkite: buildkite.fields };
