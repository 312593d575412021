import type { FactValue } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";

/**
 * `runner.ephemeral` as a token alone can say it: true on the CI's own machines, which are made for one job each. Of any
 * other runner a token says nothing, so that the fact is missing.
 */
export function hostedRunnerFacts(hosted: string): (identity: JobIdentity) => Readonly<Record<string, FactValue>> {
  return ({ runner }) => (runner?.environment === hosted ? { "runner.ephemeral": true } : {});
}
